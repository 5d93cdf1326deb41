"""From pixels to what an image tower reads: a square of a fixed size, its channels standardised.

The steps and roundings are those of CLIP's image processor in transformers (Radford et al., «Learning Transferable Visual Models
From Natural Language Supervision», ICML 2021): the shorter side is resized, the middle is cut out, channels are standardised.

Shapes: B images, H and W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional

_FILTERS = {2: "bilinear", 3: "bicubic"}  # by Pillow's numbers, in which transformers stores them


@dataclass(frozen=True)
class ImagePreprocessing:
    """How an image is brought to the size and scale that a tower was trained on.

    Attributes:
        shorter: pixels to which the shorter side is resized.
        side: pixels a side of the square that is cut out of the middle.
        mean: of each channel, for pixels from 0 to 1.
        deviation: of each channel.
        resampling: ``bicubic`` or ``bilinear``; both smooth where they shrink.
    """

    shorter: int
    side: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    resampling: str = "bicubic"

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> Self:
        """Read the settings of an image processor as transformers stores them.

        Raises:
            KeyError: one is missing, or of a kind that CLIP's processor does not have.
        """
        size, crop = settings["size"], settings["crop_size"]
        return cls(
            shorter=int(size if isinstance(size, int) else size["shortest_edge"]),
            side=int(crop if isinstance(crop, int) else crop["height"]),
            mean=tuple(settings["image_mean"]),
            deviation=tuple(settings["image_std"]),
            resampling=_FILTERS[settings.get("resample", 3)],
        )

    def prepare(self, pixels_B3HW: Tensor) -> Tensor:
        """Return the squares, x_B3HW in fp32, for RGB images in uint8 of one size; the work is done on the CPU."""
        pixels_B3HW = self._cut(self._resize(pixels_B3HW.cpu()))
        mean_311 = torch.tensor(self.mean)[:, None, None]
        deviation_311 = torch.tensor(self.deviation)[:, None, None]
        # The division by 255 is folded in, as the processor does it.
        return (pixels_B3HW.float() - mean_311 * 255) / (deviation_311 * 255)

    def _resize(self, pixels_B3HW: Tensor) -> Tensor:
        height, width = pixels_B3HW.shape[-2:]
        shorter = min(height, width)
        if shorter == self.shorter:
            return pixels_B3HW
        wanted = [self.shorter * side // shorter for side in (height, width)]
        return functional.interpolate(pixels_B3HW, wanted, mode=self.resampling, antialias=True, align_corners=False)

    def _cut(self, pixels_B3HW: Tensor) -> Tensor:
        """Cut the square out of the middle; what is too small is surrounded by black."""
        height, width = pixels_B3HW.shape[-2:]
        if min(height, width) < self.side:
            tall, wide = max(0, self.side - height), max(0, self.side - width)
            around = [wide // 2, wide - wide // 2, tall // 2, tall - tall // 2]
            return self._cut(functional.pad(pixels_B3HW, around))
        top, left = (height - self.side) // 2, (width - self.side) // 2
        return pixels_B3HW[..., top : top + self.side, left : left + self.side]
