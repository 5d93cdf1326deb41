"""What CLAP hears of a clip: windows of 10 s at 48 kHz and their log-mel spectrograms, without anything random.

Y. Wu et al., "Large-Scale Contrastive Language-Audio Pretraining with Feature Fusion and Keyword-to-Caption Augmentation",
ICASSP 2023. The paper crops a longer clip at random. Here an *unfused* model reads a longer clip in windows that are spread
evenly from its beginning to its end. A *fused* one reads the whole clip shrunk to 10 s beside three crops, each in the middle of
a third of the places where a crop can begin. A shorter clip is repeated as often as it fits, then filled up with silence, as in
the paper.

Shapes: S samples, W windows, N spectrogram frames, M mel bands, C views of the fused model (1 whole, 3 crops).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

SAMPLE_RATE = 48_000
WINDOW_SECONDS = 10
WINDOW_SAMPLES = WINDOW_SECONDS * SAMPLE_RATE
LEFT_OUT_SECONDS = 1
"""What a clip is longer than whole windows by, up to this, is no reason for another window: AudioCaps has clips of 10.02 s."""

_FFT = 1024
_HOP = 480
_BANDS = 64
_CHUNK = WINDOW_SAMPLES // _HOP + 1
_FLOOR = 1e-10


@dataclass(frozen=True)
class ClapMel:
    """The log-mel spectrogram of a checkpoint.

    Attributes:
        fused: the fused model's bands (HTK scale, peak 1); otherwise Slaney's scale and areas.
        low: lowest frequency (Hz).
        high: highest frequency (Hz).
    """

    fused: bool = False
    low: float = 50.0
    high: float = 14_000.0

    def as_dict(self) -> dict[str, Any]:
        """Return everything that changes what is heard, for a hash."""
        fixed = {
            "fft": _FFT,
            "hop": _HOP,
            "bands": _BANDS,
            "floor": _FLOOR,
            "window": WINDOW_SAMPLES,
            "padding": "repeatpad",
        }
        longer = "whole and middle crops" if self.fused else "even windows"
        return {**asdict(self), **fixed, "longer": longer, "left_out": LEFT_OUT_SECONDS, "version": 1}


def log_mel(waveform_S: Tensor, mel: ClapMel) -> Tensor:
    """Return the log-mel spectrogram (dB) of one waveform or of windows, (…, S) -> (…, N, M); N = 1 + S // 480."""
    power = _mel_transform(mel)(waveform_S)
    return 10 * torch.log10(power.clamp_min(_FLOOR)).transpose(-1, -2)


def even_windows(waveform_S: Tensor) -> Tensor:
    """Return the windows waveform_WS of a clip, 10 s each: the clip repeated if it is shorter, even steps if it is longer."""
    samples = len(waveform_S)
    if samples <= WINDOW_SAMPLES:
        return _repeated(waveform_S)[None]
    count = max(1, -(-(samples - LEFT_OUT_SECONDS * SAMPLE_RATE) // WINDOW_SAMPLES))
    last = samples - WINDOW_SAMPLES if count > 1 else 0
    starts = np.linspace(0, last, count).round().astype(int)
    return torch.stack([waveform_S[start : start + WINDOW_SAMPLES] for start in starts])


def fused_views(waveform_S: Tensor, mel: ClapMel) -> tuple[Tensor, Tensor]:
    """Return what the fused model reads: the four views mel_WCNM of a clip (W = 1), and longer_W, whether crops were cut."""
    if len(waveform_S) <= WINDOW_SAMPLES:
        waveform_S = _repeated(waveform_S)
    mel_NM = log_mel(waveform_S, mel)
    frames = len(mel_NM)
    if frames <= _CHUNK:
        return mel_NM.expand(1, 4, frames, _BANDS), torch.zeros(1, dtype=torch.bool)
    thirds = np.array_split(np.arange(frames - _CHUNK + 1), 3)
    starts = [int(third[len(third) // 2]) if len(third) else 0 for third in thirds]
    whole_NM = functional.interpolate(mel_NM[None, None], size=(_CHUNK, _BANDS), mode="bilinear", align_corners=False)[
        0, 0
    ]
    views = [whole_NM, *(mel_NM[start : start + _CHUNK] for start in starts)]
    return torch.stack(views)[None], torch.ones(1, dtype=torch.bool)


def _repeated(waveform_S: Tensor) -> Tensor:
    repeated_S = waveform_S.repeat(WINDOW_SAMPLES // len(waveform_S))
    return functional.pad(repeated_S, (0, WINDOW_SAMPLES - len(repeated_S)))


@lru_cache(maxsize=4)
def _mel_transform(mel: ClapMel) -> Callable[[Tensor], Tensor]:
    from torchaudio.transforms import MelSpectrogram

    scale, norm = ("htk", None) if mel.fused else ("slaney", "slaney")
    transform: Callable[[Tensor], Tensor] = MelSpectrogram(
        SAMPLE_RATE,
        n_fft=_FFT,
        hop_length=_HOP,
        f_min=mel.low,
        f_max=mel.high,
        n_mels=_BANDS,
        norm=norm,
        mel_scale=scale,
    )
    return transform
