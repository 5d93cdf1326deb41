"""Captions sampled from a fusion system: several a clip, the prompt read once for all of them.

The random numbers are given, so a caption depends on its clip and seed alone, not on the batch it is sampled in.

Shapes: B clips, N samples a clip, S prompt positions, T longest caption, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from fusion_core.backbone import Backbone
from fusion_core.context import FusionContext
from torch import Tensor
from transformers import DynamicCache


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
    cache = past if past is not None else DynamicCache(config=backbone.decoder.config)
    last_BD = backbone.hidden(prompt_BS, cache=cache, fusion=fusion)[:, -1]
    cumulative_BV = _cumulative(backbone.logits(last_BD), temperature)
    token_BN = torch.searchsorted(cumulative_BV, _scaled(uniform_BNT[..., 0], cumulative_BV))
    cache.batch_repeat_interleave(samples)
    drawn = [token_BN.flatten()]
    running = drawn[0] != backbone.end_id
    for step in range(1, longest):
        if not running.any():
            break
        last = backbone.hidden(drawn[-1][:, None], cache=cache, fusion=fusion)[:, -1]
        cumulative = _cumulative(backbone.logits(last), temperature)
        uniform = _scaled(uniform_BNT[..., step].reshape(-1, 1), cumulative)
        token = torch.searchsorted(cumulative, uniform)[:, 0]
        drawn.append(torch.where(running, token, backbone.end_id))
        running &= drawn[-1] != backbone.end_id
    rows = torch.stack(drawn, dim=1).view(clips, samples, -1).tolist()
    return [[_cut(ids, backbone.end_id) for ids in clip] for clip in rows]


def _cumulative(logits: Tensor, temperature: float) -> Tensor:
    """Return the distribution function over the vocabulary, in fp32."""
    return (logits.float() / temperature).softmax(dim=-1).cumsum(dim=-1)


def _scaled(uniform: Tensor, cumulative: Tensor) -> Tensor:
    """Scale to the last value of the distribution function, which rounding keeps from being 1."""
    return uniform.to(cumulative) * cumulative[:, -1:]


def _cut(ids: list[int], end_id: int) -> SampledCaption:
    """Return the tokens through the first end token."""
    if end_id in ids:
        return SampledCaption(tuple(ids[: ids.index(end_id) + 1]), ended=True)
    return SampledCaption(tuple(ids), ended=False)
