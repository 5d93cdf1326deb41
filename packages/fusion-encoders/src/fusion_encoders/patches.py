"""Patches of video frames: an encoder without weights, for the tiny tier and for tests.

Shapes: T frames, H and W pixels, A encoder width.
"""

from __future__ import annotations

from fusion_core.errors import ConfigError
from torch import Tensor
from torch.nn import functional

from fusion_encoders.base import sha256_of_settings
from fusion_encoders.frames import VideoEncoder
from fusion_encoders.video import FRAME_CHOICE


class PatchesEncoder(VideoEncoder):
    """The mean colour of ``grid`` x ``grid`` patches of each frame, from 0 to 1; A = 3·grid².

    Raises:
        ConfigError: an option is not positive.
    """

    name = "patches"

    def __init__(self, grid: int = 12, frame_rate: float = 4.0) -> None:
        if grid < 1 or frame_rate <= 0:
            raise ConfigError(f"encoder patches needs grid and frame_rate above 0, not {grid} and {frame_rate}")
        self.grid = grid
        self.frame_rate = frame_rate
        self.width = 3 * grid * grid
        self.weights_sha256 = sha256_of_settings({"weights": None})
        self.preprocessing_sha256 = sha256_of_settings({"grid": grid, "frame_rate": frame_rate, "frames": FRAME_CHOICE})

    def encode(self, pixels_T3HW: Tensor, /) -> Tensor:
        """Return one frame x_A for each frame of the video."""
        return functional.adaptive_avg_pool2d(pixels_T3HW.float() / 255, self.grid).flatten(1)
