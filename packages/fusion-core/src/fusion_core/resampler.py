"""Resampling of T encoder frames to K audio tokens, with padding left out.

Shapes: B batch, T frames, A encoder width, K audio tokens, M frames in the widest bin.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Pooling = Literal["max", "mean"]


def resample_tokens(x_BTA: Tensor, mask_BT: Tensor, tokens: int, pooling: Pooling = "max") -> Tensor:
    """Pool the real frames of each clip into ``tokens`` equal bins of time: x_BKA.

    Bin k of a clip with n real frames spans frames floor(k·n/K) to ceil((k+1)·n/K), as adaptive pooling does; a clip of fewer
    frames than bins repeats frames. Padding at the end changes nothing.

    Args:
        x_BTA: encoder frames, real ones first.
        mask_BT: True where a frame is real; each clip needs at least one.
        tokens: K.
        pooling: ``"max"`` or ``"mean"`` over the frames of a bin.

    Raises:
        ValueError: a clip has no real frame.
    """
    if x_BTA.is_meta:  # no values, hence no lengths: the shape alone
        return x_BTA.new_empty(x_BTA.shape[0], tokens, x_BTA.shape[-1])
    frames_B = mask_BT.sum(dim=1)
    if int(frames_B.min()) < 1:
        raise ValueError("a clip without any frame cannot be resampled")
    bins_K = torch.arange(tokens, device=x_BTA.device)
    start_BK = bins_K * frames_B[:, None] // tokens
    stop_BK = -(-(bins_K + 1) * frames_B[:, None] // tokens)
    widest = int((stop_BK - start_BK).max())
    index_BKM = start_BK[..., None] + torch.arange(widest, device=x_BTA.device)
    real_BKM1 = (index_BKM < stop_BK[..., None])[..., None]
    index_BKM = torch.minimum(index_BKM, stop_BK[..., None] - 1)
    rows_B11 = torch.arange(x_BTA.shape[0], device=x_BTA.device)[:, None, None]
    x_BKMA = x_BTA[rows_B11, index_BKM]
    if pooling == "max":
        return x_BKMA.masked_fill(~real_BKM1, float("-inf")).amax(dim=2)
    return (x_BKMA * real_BKM1).sum(dim=2) / real_BKM1.sum(dim=2)
