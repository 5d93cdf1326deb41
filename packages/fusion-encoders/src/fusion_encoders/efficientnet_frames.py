"""EfficientNet-Lite0 frame by frame, as an encoder of video.

The network and its weights are those of :mod:`fusion_encoders.efficientnet`; each frame becomes a mean over the cells and a peak.

Shapes: T frames, C cells of a frame, H and W pixels, A encoder width.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from fusion_core.errors import ConfigError
from torch import Tensor

from fusion_encoders.base import sha256_of_settings
from fusion_encoders.efficientnet import EfficientNetLite0
from fusion_encoders.frames import VideoEncoder
from fusion_encoders.precision import Precision
from fusion_encoders.video import FRAME_CHOICE


class EfficientNetFrames(VideoEncoder):
    """The mean and the maximum over the 49 cells of each frame, 2 x 1280 values.

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
                "cells": "mean and maximum",
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
        return torch.cat([x_TCA.mean(dim=1), x_TCA.amax(dim=1)], dim=1)
