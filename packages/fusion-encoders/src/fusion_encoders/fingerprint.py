"""A fingerprint of a clip's sound, by which copies are found that were resampled, re-encoded or made louder.

The signs of how the energy of neighbouring bands differs from one stretch of the clip to the next, after Haitsma and Kalker,
«A Highly Robust Audio Fingerprinting System», ISMIR 2002; a clip is cut into 16 stretches, so that a whole clip has one
fingerprint. Copies that begin elsewhere are not found. It is an encoder, so that the feature cache keeps it.

Shapes: S samples, N spectrogram frames, M bands, T = 1 frame, A = 240 signs.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fusion_encoders.audio import RESAMPLING
from fusion_encoders.base import FrozenEncoder, sha256_of_settings
from fusion_encoders.mel import MelSettings, mel_power

STRETCHES, BANDS = 16, 17
_WINDOW = 1024
_FLOOR = 1e-10


class FingerprintEncoder(FrozenEncoder):
    """One frame of 240 values a clip: -1 or 1, and 0 where the sound does not change, as in digital silence."""

    name = "fingerprint"
    sample_rate = 8_000
    width = (STRETCHES - 1) * (BANDS - 1)

    def __init__(self) -> None:
        self._mel = MelSettings(self.sample_rate, _WINDOW, 256, BANDS, low=150.0, high=3_500.0, unit_sum=True)
        self.weights_sha256 = sha256_of_settings({"weights": None})
        self.preprocessing_sha256 = sha256_of_settings(
            {"mel": self._mel.as_dict(), "stretches": STRETCHES, "floor": _FLOOR, "resampling": RESAMPLING}
        )

    def encode(self, waveform_S: Tensor) -> Tensor:
        """Return the fingerprint x_TA (float32) of a mono waveform at 8 kHz."""
        padded_S = functional.pad(waveform_S, (0, max(0, STRETCHES * _WINDOW - len(waveform_S))))
        mel_NM = mel_power(padded_S, self._mel)
        energy_MN = functional.adaptive_avg_pool1d(mel_NM.T[None], STRETCHES)[0]
        levels_NM = torch.log(energy_MN.T + _FLOOR)
        return levels_NM.diff(dim=1).diff(dim=0).sign().reshape(1, self.width)
