"""EfficientNet-Lite0 frame by frame, as an encoder of video.

The network and its weights are those of :mod:`fusion_encoders.efficientnet`. Of each half of a frame, left and right, the largest
value of each channel is kept: with one value for the whole frame nothing tells where a thing is.

Shapes: T frames, H and W pixels or cells, A encoder width.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from fusion_core.errors import ConfigError
from torch import Tensor

from fusion_encoders.base import sha256_of_settings
from fusion_encoders.efficientnet import GRID, EfficientNetLite0
from fusion_encoders.frames import VideoEncoder
from fusion_encoders.precision import Precision
from fusion_encoders.video import FRAME_CHOICE


class EfficientNetFrames(VideoEncoder):
    """The maximum over the cells of each frame's left half and of its right half, 2 x 1280 values.

    Args:
        frame_rate: frames a second that are seen.
        dtype: precision of the convolutions, as :class:`EfficientNetLite0` has it.

    Raises:
        ConfigError: ``frame_rate`` is not positive, or ``dtype`` unknown.
        MissingAssetError: the package with the weights is not installed.
    """

    name = "efficientnet-lite0"
    width = 2 * EfficientNetLite0.width

    def __init__(self, frame_rate: float = 4.0, dtype: Precision = "auto") -> None:
        if frame_rate <= 0:
            raise ConfigError(f"encoder {self.name} needs a frame_rate above 0, not {frame_rate}")
        self.frame_rate = frame_rate
        self._dtype: Precision = dtype
        self.weights_sha256 = self._network.weights_sha256
        self.preprocessing_sha256 = sha256_of_settings(
            {
                "pictures": self._network.preprocessing_sha256,
                "cells": "maximum of each half",
                "frame_rate": frame_rate,
                "frames": FRAME_CHOICE,
            }
        )

    @cached_property
    def _network(self) -> EfficientNetLite0:
        return EfficientNetLite0(self._dtype)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the network behind: another process loads its own."""
        return {name: value for name, value in vars(self).items() if name != "_network"}

    def encode(self, pixels_T3HW: Tensor, /) -> Tensor:
        """Return one frame x_A for each frame of the video."""
        x_TCA = self._network.encode(pixels_T3HW)
        x_THWA = x_TCA.reshape(len(x_TCA), GRID, GRID, -1)
        half = GRID // 2 + 1  # both halves have the column in the middle
        left_TA, right_TA = x_THWA[:, :, :half].amax(dim=(1, 2)), x_THWA[:, :, -half:].amax(dim=(1, 2))
        return torch.cat([left_TA, right_TA], dim=1)
