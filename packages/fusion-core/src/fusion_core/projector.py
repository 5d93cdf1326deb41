"""The projector: encoder frames to audio tokens.

    z = LN(W2·GELU(W1·x̄)) + e

with x̄ the K resampled tokens, standardised by the mean and deviation of the training split, which are part of the checkpoint.

Shapes: B batch, T frames, A encoder width, K audio tokens, P projector width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fusion_core.resampler import Pooling, resample_tokens


class Projector(nn.Module):
    """Maps x_BTA to audio tokens z_BKP.

    Args:
        encoder_width: A.
        width: P.
        tokens: K.
        pooling: how the frames of a token are pooled.
    """

    mean_A: Tensor
    deviation_A: Tensor

    def __init__(self, encoder_width: int, width: int, tokens: int, pooling: Pooling = "max") -> None:
        super().__init__()
        self.tokens = tokens
        self.pooling: Pooling = pooling
        self.inner = nn.Linear(encoder_width, width)
        self.outer = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.positions = nn.Parameter(0.02 * torch.randn(tokens, width))
        self.register_buffer("mean_A", torch.zeros(encoder_width))
        self.register_buffer("deviation_A", torch.ones(encoder_width))

    def set_statistics(self, mean_A: Tensor, deviation_A: Tensor) -> None:
        """Keep the mean and standard deviation of the resampled tokens of the training split."""
        self.mean_A.copy_(mean_A)
        self.deviation_A.copy_(deviation_A.clamp_min(1e-5))

    def resample(self, x_BTA: Tensor, mask_BT: Tensor) -> Tensor:
        """Return the K tokens before standardisation, x_BKA."""
        return resample_tokens(x_BTA, mask_BT, self.tokens, self.pooling)

    def forward(self, x_BTA: Tensor, mask_BT: Tensor) -> Tensor:
        """Return the audio tokens z_BKP."""
        x_BKA = (self.resample(x_BTA, mask_BT) - self.mean_A) / self.deviation_A
        z_BKP: Tensor = self.norm(self.outer(functional.gelu(self.inner(x_BKA)))) + self.positions
        return z_BKP
