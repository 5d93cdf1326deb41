"""Greedy and beam decoding through a fusion system.

Beam search as transformers defines it: a finished hypothesis scores logprob / length^penalty, its length counting the tokens
generated after the prompt, the end token included; a clip is done when no running beam can beat its worst finished one.

Shapes: B clips, N beams, S prompt positions, I tokens of an image, V vocabulary, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from fusion_core.backbone import Backbone
from fusion_core.context import FusionContext, RowsLeft
from torch import Tensor
from transformers import Cache, DynamicCache

from fusion_train.beam_cache import SHARE_THAT_LEAVES, beam_cache
from fusion_train.config import DecodingSettings


@dataclass(frozen=True)
class Hypothesis:
    """One decoded caption.

    Attributes:
        ids: the generated tokens, the end token left out.
        logprob: the sum of the log-probabilities of the generated tokens, the end token included.
        score: the length-penalised log-probability by which beams are ranked.
    """

    ids: tuple[int, ...]
    logprob: float
    score: float


class _Finished:
    """The best finished hypotheses of one clip."""

    def __init__(self, beams: int, penalty: float) -> None:
        self.beams = beams
        self.penalty = penalty
        self.hypotheses: list[Hypothesis] = []

    def add(self, ids: tuple[int, ...], logprob: float, length: int) -> None:
        self.hypotheses.append(Hypothesis(ids, logprob, logprob / length**self.penalty))
        self.hypotheses.sort(key=lambda hypothesis: -hypothesis.score)
        del self.hypotheses[self.beams :]

    def is_done(self, best_running: float, length: int) -> bool:
        """Tell whether no running beam can enter, judged at its present length."""
        full = len(self.hypotheses) == self.beams
        if self.beams == 1:
            return full
        return full and self.hypotheses[-1].score >= best_running / length**self.penalty


@torch.inference_mode()
def generate(
    backbone: Backbone,
    prompt_BS: Tensor,
    settings: DecodingSettings,
    fusion: FusionContext | None = None,
    mask_BS: Tensor | None = None,
    past: DynamicCache | None = None,
    images_BID: Tensor | None = None,
) -> list[list[Hypothesis]]:
    """Decode captions: for each clip its best hypotheses, best first (one with ``beams: 1``, greedy).

    Args:
        backbone: the frozen model.
        prompt_BS: one prompt a clip, padded on the left where lengths differ.
        settings: beams, longest caption, length penalty.
        fusion: the modality bound to the B clips; None decodes what the bare backbone says.
        mask_BS: 0 on padding, over ``past`` and the prompts; None where there is none.
        past: keys and values of what each clip's prompt follows; decoding extends it.
        images_BID: what stands in the place of the prompts' image tokens, an image a clip; None where there are none.
    """
    clips, beams = prompt_BS.shape[0], settings.beams
    cache: Cache = past if past is not None else DynamicCache(config=backbone.decoder.config)
    hidden_BSD = backbone.hidden(prompt_BS, mask_BS, cache, fusion, images_BID)
    logprobs_BV = backbone.logits(hidden_BSD[:, -1]).float().log_softmax(dim=-1)
    cache = beam_cache(cache, beams, settings.max_new_tokens)
    mask = None if mask_BS is None else mask_BS.repeat_interleave(beams, dim=0)
    logprobs_BNV = logprobs_BV[:, None].expand(clips, beams, -1)
    running_BN = torch.full((clips, beams), float("-inf"), device=prompt_BS.device)
    running_BN[:, 0] = 0.0
    tokens_BNT = torch.empty((clips, beams, 0), dtype=torch.long, device=prompt_BS.device)
    found = [_Finished(beams, settings.length_penalty) for _ in range(clips)]
    left = _Left(fusion, found, beams)
    for step in range(1, settings.max_new_tokens + 1):
        parents_BN, chosen_BN, running_BN = _advance(
            running_BN, logprobs_BNV, tokens_BNT, left.finished, left.done, backbone.end_id, step
        )
        history_BNT = torch.take_along_dim(tokens_BNT, parents_BN[..., None], dim=1)
        tokens_BNT = torch.cat([history_BNT, chosen_BN[..., None]], dim=-1)
        left.judge(running_BN, step)
        if all(left.done) or step == settings.max_new_tokens:
            break
        if beams > 1:
            rows = parents_BN + torch.arange(len(parents_BN), device=parents_BN.device)[:, None] * beams
            cache.reorder_cache(rows.flatten())
        if mask is not None:
            mask = torch.cat([mask, mask.new_ones((mask.shape[0], 1))], dim=1)
        if left.are_few():
            kept_B, kept_R = left.drop_done(prompt_BS.device)
            running_BN, tokens_BNT, chosen_BN = (x_BN[kept_B] for x_BN in (running_BN, tokens_BNT, chosen_BN))
            cache.batch_select_indices(kept_R)
            mask = None if mask is None else mask[kept_R]
        hidden = backbone.hidden(chosen_BN.reshape(-1, 1), mask, cache, left.context)
        logprobs_BNV = backbone.logits(hidden[:, -1]).float().log_softmax(dim=-1).view(-1, beams, logprobs_BV.shape[-1])
    _collect(left.finished, tokens_BNT, running_BN, left.done)
    return [one.hypotheses for one in found]


class _Left:
    """The clips whose search goes on; what is done leaves the batch once there is enough of it.

    Args:
        context: the modality bound to all clips; None for none.
        finished: by clip.
        beams: rows of a clip.
    """

    def __init__(self, context: FusionContext | None, finished: list[_Finished], beams: int) -> None:
        self.context = self._whole = context
        self.finished = finished
        self.done = [False] * len(finished)
        self.beams = beams
        self._rows_R = torch.arange(len(finished) * beams)
        self._batch = len(finished) * beams

    def judge(self, running_BN: Tensor, step: int) -> None:
        """Say which clips are done, by the best of their running beams."""
        best_running = running_BN[:, 0].tolist()
        self.done = [
            was or rest.is_done(best, step)
            for was, rest, best in zip(self.done, self.finished, best_running, strict=True)
        ]

    def are_few(self) -> bool:
        """Say whether so many clips are done that the others go on without them."""
        return sum(self.done) >= SHARE_THAT_LEAVES * len(self.done)

    def drop_done(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Let the clips go that are done; return the places of the others and of their rows."""
        places = [place for place, done in enumerate(self.done) if not done]
        kept_B = torch.tensor(places, device=device)
        kept_R = (kept_B[:, None] * self.beams + torch.arange(self.beams, device=device)).flatten()
        self._rows_R = self._rows_R.to(device)[kept_R]
        self.finished = [self.finished[place] for place in places]
        self.done = [False] * len(places)
        if self._whole is not None:
            self.context = RowsLeft(self._whole, self._rows_R, self._batch)
        return kept_B, kept_R


def _advance(
    running_BN: Tensor,
    logprobs_BNV: Tensor,
    tokens_BNT: Tensor,
    finished: list[_Finished],
    done: list[bool],
    end_id: int,
    step: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Extend every beam by a token; return parents, tokens and log-probs of the N best that still run.

    Hypotheses that end are set apart. Twice as many candidates as beams are looked at, so N running ones remain however many end.
    """
    beams, vocabulary = logprobs_BNV.shape[1:]
    # The 2N best of a clip are among the 2N best of each of its beams: a narrow second search instead of one over N·V.
    wide = min(2 * beams, vocabulary)
    near_BNW, token_BNW = logprobs_BNV.topk(wide, dim=-1)
    total_BF = (near_BNW + running_BN[..., None]).flatten(1)
    score_BC, flat_BC = total_BF.topk(min(2 * beams, total_BF.shape[1]), dim=1)
    parent_BC = flat_BC // wide
    token_BC = token_BNW.flatten(1).gather(1, flat_BC)
    ends_BC = token_BC == end_id
    _set_apart(ends_BC, score_BC, parent_BC, tokens_BNT, finished, done, step)
    order_BC = torch.where(ends_BC, float("-inf"), score_BC)
    running_BN, kept_BN = order_BC.topk(beams, dim=1)
    return parent_BC.gather(1, kept_BN), token_BC.gather(1, kept_BN), running_BN


def _set_apart(
    ends_BC: Tensor,
    score_BC: Tensor,
    parent_BC: Tensor,
    tokens_BNT: Tensor,
    finished: list[_Finished],
    done: list[bool],
    step: int,
) -> None:
    """Keep the candidates that end and rank among the first N of their clip."""
    beams = tokens_BNT.shape[1]
    for clip, rank in ends_BC[:, :beams].nonzero().tolist():
        score = float(score_BC[clip, rank])
        if not done[clip] and score > float("-inf"):
            ids = tuple(tokens_BNT[clip, parent_BC[clip, rank]].tolist())
            finished[clip].add(ids, score, step)


def _collect(finished: list[_Finished], tokens_BNT: Tensor, running_BN: Tensor, done: list[bool]) -> None:
    """Where too few hypotheses of a clip ended in time, let the running beams stand in."""
    length = tokens_BNT.shape[-1]
    for clip, rest in enumerate(finished):
        if done[clip]:
            continue
        for beam, logprob in enumerate(running_BN[clip].tolist()):
            if logprob > float("-inf"):
                rest.add(tuple(tokens_BNT[clip, beam].tolist()), logprob, length)
