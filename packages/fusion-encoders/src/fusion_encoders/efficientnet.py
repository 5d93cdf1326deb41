"""EfficientNet-Lite0: a frozen convolutional network of 3.4 million weights that turns pictures, or frames of a video,
into cells.

M. Tan and Q. V. Le, «EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks», ICML 2019; its Lite variant has
no squeeze-and-excitation and ReLU6 throughout. The weights were trained on ImageNet (Apache-2.0).

Shapes: B pictures, H and W pixels, C cells of a picture (7 x 7, row by row), A encoder width.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from fusion_core.files import sha256_file
from fusion_core.images import ImagePreprocessing
from torch import Tensor, nn

from fusion_encoders.base import sha256_of_settings
from fusion_encoders.efficientnet_weights import converted_weights, read_weights
from fusion_encoders.precision import Precision, resolve_precision

GRID = 7
"""Cells a side."""
_BATCH = 32


class EfficientNetLite0:
    """The features before the network's pooling: 49 cells of 1280 values a picture.

    ``dtype`` is the precision of the convolutions: ``auto`` is the faster of
    bfloat16 and float32 on this machine. It is part of the preprocessing hash, so features of two precisions never mix.

    Raises:
        ConfigError: ``dtype`` is none of the three.
        MissingAssetError: the package with the weights is not installed, or its file is not the known one.
    """

    name = "efficientnet-lite0"
    width = 1280
    cells = GRID * GRID
    preprocessing = ImagePreprocessing(shorter=224, side=224, mean=(127 / 255,) * 3, deviation=(128 / 255,) * 3)

    def __init__(self, dtype: Precision = "auto") -> None:
        self.dtype = resolve_precision(dtype, self.name)
        self._weights_path = converted_weights()
        self.weights_sha256 = sha256_file(self._weights_path)
        self.preprocessing_sha256 = sha256_of_settings(
            {
                "shorter": self.preprocessing.shorter,
                "side": self.preprocessing.side,
                "mean": self.preprocessing.mean,
                "deviation": self.preprocessing.deviation,
                "resampling": self.preprocessing.resampling,
                "dtype": str(self.dtype),
            }
        )

    def fingerprint(self) -> str:
        """Return one SHA-256 for the encoder, its weights and its preprocessing."""
        return sha256_of_settings(
            {
                "name": self.name,
                "weights_sha256": self.weights_sha256,
                "preprocessing_sha256": self.preprocessing_sha256,
            }
        )

    @torch.no_grad()
    def encode(self, pixels_B3HW: Tensor) -> Tensor:
        """Return the cells x_BCA (float32, on the CPU) of RGB pictures in uint8 of one size; the middle square is seen."""
        x_B3HW = self.preprocessing.prepare(pixels_B3HW).to(self.dtype)
        parts = [self._features(part_B3HW) for part_B3HW in torch.split(x_B3HW, _BATCH)]
        return torch.cat(parts)

    def _features(self, x_B3HW: Tensor) -> Tensor:
        x_BAHW: Tensor = self._network.extract_features(x_B3HW.contiguous(memory_format=torch.channels_last))
        return x_BAHW.float().flatten(2).mT.contiguous()

    @cached_property
    def _network(self) -> Any:
        from efficientnet_lite_pytorch import EfficientNet

        network = EfficientNet.from_name(self.name)
        network.load_state_dict(read_weights(self._weights_path))
        fold_batch_norms(network.eval())
        return network.to(self.dtype, memory_format=torch.channels_last)


def fold_batch_norms(network: Any) -> None:
    """Fold every batch norm of the network into the convolution before it, and leave an identity in its place."""
    _fold(network, "_conv_stem", "_bn0")
    for block in network._blocks:
        for convolution, norm in (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")):
            if hasattr(block, convolution):
                _fold(block, convolution, norm)
    _fold(network, "_conv_head", "_bn1")


def _fold(owner: nn.Module, convolution: str, norm: str) -> None:
    fused = torch.nn.utils.fusion.fuse_conv_bn_eval(getattr(owner, convolution), getattr(owner, norm))
    setattr(owner, convolution, fused)
    setattr(owner, norm, nn.Identity())
