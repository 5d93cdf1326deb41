"""Log-mel patches: an encoder without weights, for the tiny tier and for tests.

Shapes: S samples, N spectrogram frames, M mel bands, T frames, A encoder width.
"""

from __future__ import annotations

import torch
from fusion_core.errors import ConfigError
from torch import Tensor
from torch.nn import functional

from fusion_encoders.audio import RESAMPLING
from fusion_encoders.base import FrozenEncoder, sha256_of_settings
from fusion_encoders.mel import MelSettings, mel_power

_FLOOR = 1e-6


class LogMelEncoder(FrozenEncoder):
    """Patches of ``patch_frames`` log-mel frames (10 ms each) by ``bands`` mel bands, each flattened into one frame.

    The audio is mono at 16 kHz; with the defaults a frame has 16 x 64 = 1024 values and lasts 0.16 s.

    Raises:
        ConfigError: an option is not a positive whole number.
    """

    name = "logmel"
    sample_rate = 16_000

    def __init__(self, bands: int = 64, patch_frames: int = 16) -> None:
        if bands < 1 or patch_frames < 1:
            raise ConfigError(f"encoder logmel needs bands and patch_frames above 0, not {bands} and {patch_frames}")
        self.width = bands * patch_frames
        self._patch_frames = patch_frames
        self._mel = MelSettings(self.sample_rate, 512, 160, bands, low=0.0, high=8_000.0, unit_sum=True)
        self.weights_sha256 = sha256_of_settings({"weights": None})
        self.preprocessing_sha256 = sha256_of_settings(
            {"mel": self._mel.as_dict(), "patch_frames": patch_frames, "floor": _FLOOR, "resampling": RESAMPLING}
        )

    def encode(self, waveform_S: Tensor) -> Tensor:
        """Return the frames x_TA (float32) of a mono waveform at 16 kHz; the last patch is filled up with silence."""
        samples = self._patch_frames * self._mel.hop
        patches = max(1, -(-len(waveform_S) // samples))
        padded_S = functional.pad(waveform_S, (0, patches * samples - len(waveform_S)))
        mel_NM = mel_power(padded_S, self._mel)[: patches * self._patch_frames]
        return torch.log(mel_NM + _FLOOR).reshape(patches, self.width)
