"""Captions sampled from a fusion system: several a clip, the prompt read once for all of them.

The random numbers are given, so a caption depends on its clip and seed alone, not on the batch it is sampled in.

Shapes: B clips, N samples a clip, R rows (B times N), L rows that are left, S prompt positions, T longest caption,
C tokens of one caption but the last, D backbone width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from fusion_core.backbone import Backbone, ResidualRecorder
from fusion_core.context import FusionContext, RowsLeft, Together
from torch import Tensor
from transformers import Cache, DynamicCache

from fusion_train.beam_cache import SHARE_THAT_LEAVES, beam_cache


@dataclass(frozen=True)
class SampledCaption:
    """One sampled caption.

    Attributes:
        ids: its tokens; the end token is the last, where it came in time.
        ended: whether it did.
        stream_CD: the residual stream at the entrance of a block, of every token but the last; None where it was not asked for.
    """

    ids: tuple[int, ...]
    ended: bool
    stream_CD: Tensor | None = field(default=None, compare=False)


@torch.no_grad()
def sample_captions(
    backbone: Backbone,
    prompt_BS: Tensor,
    uniform_BNT: Tensor,
    fusion: FusionContext | None = None,
    past: DynamicCache | None = None,
    temperature: float = 1.0,
    block: int | None = None,
) -> list[list[SampledCaption]]:
    """Sample N captions of at most T tokens for each clip.

    Args:
        backbone: the model.
        prompt_BS: one prompt a clip, all of one length.
        uniform_BNT: numbers from [0, 1), one a token, each turned into a token by the inverse of the distribution function.
        fusion: the modality bound to the B clips.
        past: keys and values of what each clip's prompt follows; sampling extends it.
        temperature: of the softmax.
        block: the block at whose entrance the captions' streams are kept, before anything is added there; None keeps none.
    """
    samples, longest = uniform_BNT.shape[1:]
    cache: Cache = past if past is not None else DynamicCache(config=backbone.decoder.config)
    last_BD = backbone.hidden(prompt_BS, cache=cache, fusion=fusion)[:, -1]
    cumulative_BV = _cumulative(backbone.logits(last_BD), temperature)
    token_BN = torch.searchsorted(cumulative_BV, _scaled(uniform_BNT[..., 0], cumulative_BV))
    cache = beam_cache(cache, samples, longest)
    uniform_RT = uniform_BNT.flatten(0, 1)
    drawn_RT = torch.full(uniform_RT.shape, backbone.end_id, device=token_BN.device)
    drawn_RT[:, 0] = token_BN.flatten()
    left_L, context = torch.arange(len(drawn_RT), device=token_BN.device), fusion
    streams = None if block is None else _Streams(backbone, block, len(drawn_RT), longest - 1)
    for step in range(1, longest):
        running_L = drawn_RT[left_L, step - 1] != backbone.end_id
        if not running_L.any():
            break
        if (~running_L).sum() >= SHARE_THAT_LEAVES * len(left_L):
            left_L = left_L[running_L]
            cache.batch_select_indices(running_L.nonzero()[:, 0])
            context = None if fusion is None else RowsLeft(fusion, left_L, len(drawn_RT))
            running_L = running_L[running_L]
        ids_L1 = drawn_RT[left_L, step - 1][:, None]
        watched = context if streams is None else streams.watched(context)
        last = backbone.hidden(ids_L1, cache=cache, fusion=watched)[:, -1]
        if streams is not None:
            streams.keep(left_L, step - 1)
        cumulative = _cumulative(backbone.logits(last), temperature)
        uniform = _scaled(uniform_RT[left_L.to(uniform_RT.device), step][:, None], cumulative)
        token_L = torch.searchsorted(cumulative, uniform)[:, 0]
        drawn_RT[left_L, step] = torch.where(running_L, token_L, backbone.end_id)
    rows = [_cut(ids, backbone.end_id) for ids in drawn_RT.tolist()]
    if streams is not None:
        rows = [replace(one, stream_CD=streams.of(row, len(one.ids) - 1)) for row, one in enumerate(rows)]
    return [rows[start : start + samples] for start in range(0, len(rows), samples)]


class _Streams:
    """The residual streams of sampled tokens at the entrance of one block."""

    def __init__(self, backbone: Backbone, block: int, rows: int, positions: int) -> None:
        self._recorder = ResidualRecorder((block,))
        self._block = block
        size = (rows, positions, backbone.width)
        self._kept_RTD = torch.zeros(size, dtype=backbone.dtype, device=backbone.device)

    def watched(self, context: FusionContext | None) -> FusionContext:
        """Return a context that does the same and lets the stream be kept."""
        return self._recorder if context is None else Together((self._recorder, context))

    def keep(self, left_L: Tensor, position: int) -> None:
        """Keep what the last call has seen of the rows that are left, in their places."""
        self._kept_RTD[left_L, position] = self._recorder.streams[self._block][:, 0]

    def of(self, row: int, tokens: int) -> Tensor:
        """Return the stream of a row's first tokens, h_CD."""
        return self._kept_RTD[row, :tokens]


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
