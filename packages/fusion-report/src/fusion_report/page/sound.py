"""A clip's sound as the page plays and shows it: mono MP3 at 16 kHz, and a small picture of its log-mel spectrogram.

MP3 because every browser plays it and the encoder writes the same bytes each time (an Ogg stream carries a random number).

S samples, F frames, Q frequency bins, M mel bands
"""

from __future__ import annotations

import gzip
import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from fusion_eval.errors import DataError
from numpy.typing import NDArray
from scipy.signal import resample_poly, stft

SAMPLE_RATE = 16_000
BANDS, FRAMES = 72, 256
LEVELS = 16
RANGE_DB = 65.0
LOWEST_HZ = 40.0
COMPRESSION = 0.8  # of 0 to 1; about 25 kB for ten seconds

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Waveform:
    """Mono samples at ``SAMPLE_RATE``, and the length of the file in s."""

    samples_S: Floats
    seconds: float


def read_sound(path: Path) -> Waveform:
    """Decode a sound file to mono at 16 kHz; samples that are no numbers are silence.

    Raises:
        DataError: the file is absent, empty or none that can be decoded.
    """
    try:
        samples, rate = soundfile.read(path, dtype="float64", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise DataError(f"{path.name} cannot be decoded ({_why(error)})") from error
    if not len(samples):
        raise DataError(f"{path.name} holds no samples")
    mono_S = np.nan_to_num(samples.mean(axis=1), nan=0.0, posinf=0.0, neginf=0.0)
    common = math.gcd(SAMPLE_RATE, rate)
    resampled_S = resample_poly(mono_S, SAMPLE_RATE // common, rate // common) if rate != SAMPLE_RATE else mono_S
    return Waveform(np.clip(resampled_S, -1.0, 1.0), len(mono_S) / rate)


def _why(error: Exception) -> str:
    text = getattr(error, "error_string", None) or getattr(error, "strerror", None) or type(error).__name__
    return str(text).strip().rstrip(".").lower()


def encode_mp3(sound: Waveform) -> bytes:
    """Return the sound as MP3 of variable bit rate."""
    buffer = io.BytesIO()
    soundfile.write(
        buffer,
        sound.samples_S,
        SAMPLE_RATE,
        format="MP3",
        subtype="MPEG_LAYER_III",
        compression_level=COMPRESSION,
        bitrate_mode="VARIABLE",
    )
    return buffer.getvalue()


def picture(sound: Waveform) -> bytes:
    """Return the spectrogram as gzip of BANDS x FRAMES bytes, 0 (RANGE_DB below the loudest) to LEVELS - 1, low bands first."""
    window = 512
    padded_S = np.pad(sound.samples_S, (0, max(0, window - len(sound.samples_S))))
    hop = max(1, len(padded_S) // FRAMES)
    _, _, spectrum_QF = stft(padded_S, SAMPLE_RATE, nperseg=window, noverlap=window - min(hop, window // 2), nfft=1024)
    power_MF = _mel_bands(spectrum_QF.shape[0]) @ np.abs(spectrum_QF) ** 2
    columns_F = np.linspace(0, power_MF.shape[1], FRAMES + 1).astype(int)
    starts_F = np.minimum(columns_F[:-1], power_MF.shape[1] - 1)
    pooled_MF = np.maximum.reduceat(power_MF, starts_F, axis=1)
    decibels_MF = 10 * np.log10(np.maximum(pooled_MF, 1e-12))
    height_MF = 1 + (decibels_MF - max(float(decibels_MF.max()), -80.0)) / RANGE_DB
    levels_MF = np.clip(np.round(height_MF * (LEVELS - 1)), 0, LEVELS - 1).astype(np.uint8)
    return gzip.compress(levels_MF.tobytes(), compresslevel=9, mtime=0)


def _mel_bands(bins: int) -> Floats:
    """Return triangles w_MQ, equally wide on the mel scale from LOWEST_HZ to the Nyquist frequency; each sums to 1."""
    mel = np.linspace(_to_mel(LOWEST_HZ), _to_mel(SAMPLE_RATE / 2), BANDS + 2)
    corners = 700 * (10 ** (mel / 2595) - 1)
    hertz_Q = np.linspace(0, SAMPLE_RATE / 2, bins)
    rising = (hertz_Q - corners[:-2, None]) / (corners[1:-1] - corners[:-2])[:, None]
    falling = (corners[2:, None] - hertz_Q) / (corners[2:] - corners[1:-1])[:, None]
    weights_MQ: Floats = np.maximum(0, np.minimum(rising, falling))
    narrow = weights_MQ.sum(axis=1) == 0  # narrower than a bin: the nearest one
    weights_MQ[narrow, np.abs(hertz_Q - corners[1:-1][narrow, None]).argmin(axis=1)] = 1.0
    weights_MQ /= weights_MQ.sum(axis=1, keepdims=True)
    return weights_MQ


def _to_mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)
