"""Captions sampled from a fusion system: several a clip, the prompt read once for all of them.

The random numbers are given, so a caption depends on its clip and seed alone, not on the batch it is sampled in.

Shapes: B clips, N samples a clip, R rows (B times N), L rows that are left, S prompt positions, T longest caption,
V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from fusion_core.backbone import Backbone
from fusion_core.context import FusionContext, RowsLeft
from torch import Tensor
from transformers import Cache, DynamicCache

from fusion_train.beam_cache import SHARE_THAT_LEAVES, beam_cache


@dataclass(frozen=True)
class SampledCaption:
    """One sampled caption.

    Attributes:
        ids: its tokens; the end token is the last, where it came in time.
        ended: whether it did.
    """

    ids: tuple[int, ...]
    ended: bool


@torch.no_grad()
def sample_captions(
    backbone: Backbone,
    prompt_BS: Tensor,
    uniform_BNT: Tensor,
    fusion: FusionContext | None = None,
    past: DynamicCache | None = None,
    temperature: float = 1.0,
) -> list[list[SampledCaption]]:
    """Sample N captions of at most T tokens for each clip.

    Args:
        backbone: the model.
        prompt_BS: one prompt a clip, all of one length.
        uniform_BNT: numbers from [0, 1), one a token, each turned into a token by the inverse of the distribution function.
        fusion: the modality bound to the B clips.
        past: keys and values of what each clip's prompt follows; sampling extends it.
        temperature: of the softmax.
    """
    clips, samples, longest = uniform_BNT.shape
    cache: Cache = past if past is not None else DynamicCache(config=backbone.decoder.config)
    last_BD = backbone.hidden(prompt_BS, cache=cache, fusion=fusion)[:, -1]
    cumulative_BV = _cumulative(backbone.logits(last_BD), temperature)
    token_BN = torch.searchsorted(cumulative_BV, _scaled(uniform_BNT[..., 0], cumulative_BV))
    cache = beam_cache(cache, samples, longest)
    uniform_RT = uniform_BNT.flatten(0, 1)
    drawn_RT = torch.full(uniform_RT.shape, backbone.end_id, device=token_BN.device)
    drawn_RT[:, 0] = token_BN.flatten()
    left_L, context = torch.arange(len(drawn_RT), device=token_BN.device), fusion
    for step in range(1, longest):
        running_L = drawn_RT[left_L, step - 1] != backbone.end_id
        if not running_L.any():
            break
        if (~running_L).sum() >= SHARE_THAT_LEAVES * len(left_L):
            left_L = left_L[running_L]
            cache.batch_select_indices(running_L.nonzero()[:, 0])
            context = None if fusion is None else RowsLeft(fusion, left_L, len(drawn_RT))
            running_L = running_L[running_L]
        last = backbone.hidden(drawn_RT[left_L, step - 1][:, None], cache=cache, fusion=context)[:, -1]
        cumulative = _cumulative(backbone.logits(last), temperature)
        uniform = _scaled(uniform_RT[left_L.to(uniform_RT.device), step][:, None], cumulative)
        token_L = torch.searchsorted(cumulative, uniform)[:, 0]
        drawn_RT[left_L, step] = torch.where(running_L, token_L, backbone.end_id)
    rows = drawn_RT.view(clips, samples, -1).tolist()
    return [[_cut(ids, backbone.end_id) for ids in clip] for clip in rows]


def _cumulative(logits: Tensor, temperature: float) -> Tensor:
    """Return the distribution function over the vocabulary, in fp32."""
    logits = logits.float()
    return (logits if temperature == 1 else logits / temperature).softmax(dim=-1).cumsum(dim=-1)


def _scaled(uniform: Tensor, cumulative: Tensor) -> Tensor:
    """Scale to the last value of the distribution function, which rounding keeps from being 1."""
    return uniform.to(cumulative) * cumulative[:, -1:]


def _cut(ids: list[int], end_id: int) -> SampledCaption:
    """Return the tokens through the first end token."""
    if end_id in ids:
        return SampledCaption(tuple(ids[: ids.index(end_id) + 1]), ended=True)
    return SampledCaption(tuple(ids), ended=False)
