"""What encoders of video have in common: they read a file's frames at their own rate.

Shapes: T frames, H and W pixels, A encoder width.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from fusion_encoders.base import FrozenEncoder
from fusion_encoders.video import load_frames


class VideoEncoder(FrozenEncoder):
    """An encoder whose ``encode`` expects pixels_T3HW, RGB in uint8, at ``frame_rate`` frames a second."""

    modality = "video"
    sample_rate = 0
    frame_rate: float

    def read(self, path: Path) -> Tensor:
        """Return the frames of a video file, pixels_T3HW.

        Raises:
            MediaFault: the file cannot be used.
            MissingAssetError: decord is not installed.
        """
        return load_frames(path, self.frame_rate)
