"""From the cells of an image to as many tokens of a language model.

Shapes: B images, C cells, A width of the cells, P width of the projector, D width of the language model.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ImageProjectorSettings:
    """The shape of a projector.

    Attributes:
        cells: C.
        width: A.
        hidden: P.
        layers: of attention among the cells.
        heads: of each.
        output: D.
    """

    cells: int = 49
    width: int = 1280
    hidden: int = 384
    layers: int = 2
    heads: int = 6
    output: int = 576


class ImageProjector(nn.Module):
    """e = W₂·LN(attention(W₁·x̃ + p)) + q, with x̃ the cells standardised a channel, p and q learned places.

    The network that sees the image gives an object to every cell that it touches; attention among the cells lets one of them
    speak for all.
    """

    mean_A: Tensor
    scale_A: Tensor

    def __init__(self, settings: ImageProjectorSettings) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("mean_A", torch.zeros(settings.width))
        self.register_buffer("scale_A", torch.ones(settings.width))
        self.enter = nn.Linear(settings.width, settings.hidden)
        self.place_CP = nn.Parameter(0.02 * torch.randn(settings.cells, settings.hidden))
        self.mix = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(
                settings.hidden,
                settings.heads,
                dim_feedforward=2 * settings.hidden,
                dropout=0.0,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            ),
            settings.layers,
            norm=nn.LayerNorm(settings.hidden),
            enable_nested_tensor=False,
        )
        self.leave = nn.Linear(settings.hidden, settings.output)
        self.place_CD = nn.Parameter(torch.zeros(settings.cells, settings.output))

    def standardise_by(self, mean_A: Tensor, deviation_A: Tensor) -> None:
        """Set the statistics of the cells of the training images."""
        self.mean_A.copy_(mean_A)
        self.scale_A.copy_(1 / deviation_A.clamp_min(1e-3))

    def forward(self, x_BCA: Tensor) -> Tensor:
        """Return the tokens e_BCD."""
        x_BCP = self.enter((x_BCA - self.mean_A) * self.scale_A) + self.place_CP
        e_BCD: Tensor = self.leave(self.mix(x_BCP)) + self.place_CD
        return e_BCD
