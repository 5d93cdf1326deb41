"""What every encoder gives and what every encoder is.

Shapes: B batch, T frames, A encoder width, S samples.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from fusion_encoders.audio import load_audio


@dataclass(frozen=True, eq=False)
class FeatureSequence:
    """Frames of a batch of clips: ``x_BTA`` and ``mask_BT``, True where a frame is real and not padding.

    Raises:
        ValueError: the shapes do not agree, or the mask is not boolean.
    """

    x_BTA: Tensor
    mask_BT: Tensor

    def __post_init__(self) -> None:
        if self.x_BTA.ndim != 3 or self.mask_BT.shape != self.x_BTA.shape[:2] or self.mask_BT.dtype != torch.bool:
            raise ValueError(
                f"features of shape {tuple(self.x_BTA.shape)} need a boolean mask of their first two axes, "
                f"not {tuple(self.mask_BT.shape)} of {self.mask_BT.dtype}"
            )

    @classmethod
    def pad(cls, clips: Sequence[Tensor]) -> FeatureSequence:
        """Join clips x_TA of different lengths into one batch, padded with zeros on the right.

        Raises:
            ValueError: there is no clip, or the widths differ.
        """
        if not clips or any(x_TA.ndim != 2 or x_TA.shape[1] != clips[0].shape[1] for x_TA in clips):
            raise ValueError(f"a batch needs clips of one width, not {[tuple(x_TA.shape) for x_TA in clips]}")
        lengths_B = torch.tensor([len(x_TA) for x_TA in clips], device=clips[0].device)
        x_BTA = torch.nn.utils.rnn.pad_sequence(list(clips), batch_first=True)
        positions_T = torch.arange(x_BTA.shape[1], device=x_BTA.device)
        return cls(x_BTA, positions_T[None] < lengths_B[:, None])

    def __len__(self) -> int:
        return len(self.mask_BT)

    def to(self, device: torch.device | str) -> FeatureSequence:
        """Return the same batch on another device."""
        return FeatureSequence(self.x_BTA.to(device), self.mask_BT.to(device))


class FrozenEncoder(Protocol):
    """A pretrained encoder of one modality whose weights never change; of mono audio, unless it says otherwise.

    ``width`` is A; ``sample_rate`` (Hz) is the rate of the audio that ``encode`` expects. The two hashes name the weights and
    every setting that changes the features, so that cached features of different encoders never mix. An encoder of another
    modality names it and reads files in its own way.
    """

    name: str
    width: int
    modality: str = "audio"
    sample_rate: int
    weights_sha256: str
    preprocessing_sha256: str

    def read(self, path: Path) -> Tensor:
        """Return what ``encode`` needs of a file: a waveform_S at the encoder's rate.

        Raises:
            MediaFault: the file cannot be used.
        """
        return load_audio(path, self.sample_rate)

    def encode(self, media: Tensor, /) -> Tensor:
        """Return the frames x_TA (float32, on the CPU) of what ``read`` gives; at least one frame."""
        ...

    def fingerprint(self) -> str:
        """Return one SHA-256 for the encoder, its weights and its preprocessing."""
        return sha256_of_settings(
            {
                "name": self.name,
                "weights_sha256": self.weights_sha256,
                "preprocessing_sha256": self.preprocessing_sha256,
            }
        )


def canonical_json(value: Any) -> str:
    """Return JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def sha256_of_settings(settings: Mapping[str, Any]) -> str:
    """Return the SHA-256 of settings as canonical JSON."""
    return hashlib.sha256(canonical_json(settings).encode()).hexdigest()
