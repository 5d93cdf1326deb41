"""Mel spectrograms: the one front end of the encoders.

Shapes: S samples, N spectrogram frames, M mel bands. Rates and frequencies are in Hz.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class MelSettings:
    """A mel spectrogram: Hann window and hop (samples), triangles on the HTK scale between ``low`` and ``high`` (Hz).

    The triangles have peak 1; with ``unit_sum`` the weights of each sum to 1.
    """

    sample_rate: int
    window: int
    hop: int
    bands: int
    low: float
    high: float
    unit_sum: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as plain values, for a hash."""
        return dataclasses.asdict(self)


def mel_power(waveform_S: Tensor, settings: MelSettings) -> Tensor:
    """Return mel_NM, the power in each band; N = 1 + S // hop, frames centred, the ends padded with zeros."""
    window = torch.hann_window(settings.window)
    spectrum_FN = torch.stft(
        waveform_S,
        n_fft=settings.window,
        hop_length=settings.hop,
        window=window,
        center=True,
        pad_mode="constant",
        return_complex=True,
    )
    power_NF = torch.view_as_real(spectrum_FN).square().sum(dim=-1).T
    return power_NF @ _triangles(settings)


@lru_cache(maxsize=8)
def _triangles(settings: MelSettings) -> Tensor:
    from torchaudio.functional import melscale_fbanks

    triangles_FM: Tensor = melscale_fbanks(
        settings.window // 2 + 1, settings.low, settings.high, settings.bands, settings.sample_rate, mel_scale="htk"
    )
    if settings.unit_sum:
        triangles_FM = triangles_FM / triangles_FM.sum(dim=0).clamp_min(torch.finfo(torch.float32).tiny)
    return triangles_FM
