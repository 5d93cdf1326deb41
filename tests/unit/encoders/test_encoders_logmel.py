"""Mel spectrograms against librosa, and the patches made of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from fusion_core.errors import ConfigError
from fusion_encoders import aisfx
from fusion_encoders.logmel import LogMelEncoder
from fusion_encoders.mel import MelSettings, mel_power

AISFX_MEL = MelSettings(44_100, 2048, 1024, 96, 0.0, 22_050.0, unit_sum=True)


def mel_power_by_definition(waveform: np.ndarray) -> np.ndarray:
    """The spectrogram of aiSFX written out in float64: centred Hann frames, HTK triangles of unit sum."""
    padded = np.pad(waveform.astype(np.float64), 1024)
    frames = np.stack([padded[start : start + 2048] for start in range(0, len(padded) - 2047, 1024)])
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(2048) / 2048)
    power = np.abs(np.fft.rfft(frames * window)) ** 2
    corners = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 22_050 / 700), 98) / 2595) - 1)
    bins = np.arange(1025) * 44_100 / 2048
    triangles = np.zeros((1025, 96))
    for band in range(96):
        low, middle, high = corners[band : band + 3]
        triangles[:, band] = np.clip(
            np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle)), 0, None
        )
    return power @ (triangles / triangles.sum(axis=0))


@pytest.mark.parametrize("samples", [8_192, 44_100, 50_001])
def test_mel_power_is_the_definition(samples: int) -> None:
    waveform = torch.randn(samples, generator=torch.Generator().manual_seed(0))
    ours, definition = mel_power(waveform, AISFX_MEL).numpy(), mel_power_by_definition(waveform.numpy())
    assert ours.shape == definition.shape == (1 + samples // 1024, 96)
    # in float32 the corners of the narrow low bands are off by up to 1e-3 of a band
    assert np.allclose(ours, definition, rtol=2e-3, atol=1e-5 * definition.max())
    assert np.median(np.abs(ours - definition) / definition) < 1e-5


@pytest.mark.slow
def test_mel_power_equals_librosa() -> None:
    librosa = pytest.importorskip("librosa")
    waveform = torch.randn(44_100, generator=torch.Generator().manual_seed(0))
    ours = mel_power(waveform, AISFX_MEL).numpy()
    theirs = librosa.feature.melspectrogram(
        y=waveform.numpy(), sr=44_100, n_fft=2048, hop_length=1024, n_mels=96, htk=True, norm=1.0, fmax=22_050
    ).T
    assert np.allclose(ours, theirs, rtol=2e-3, atol=1e-5 * theirs.max())
    assert np.median(np.abs(ours - theirs) / theirs) < 1e-5


def test_the_input_of_aisfx_is_the_scaled_log_of_the_mel_power() -> None:
    waveform = 0.01 * torch.randn(44_100, generator=torch.Generator().manual_seed(0))
    loud = waveform / waveform.abs().max()
    expected = torch.log10(10_000 * mel_power(loud, AISFX_MEL) + 1) / 9.457798957824707
    assert torch.equal(aisfx.log_mel(waveform), expected)
    assert torch.allclose(aisfx.log_mel(4 * waveform), expected, atol=1e-5)
    assert expected.min() >= 0
    assert expected.max() < 1


def test_silence_has_a_log_mel_of_zero() -> None:
    assert (aisfx.log_mel(torch.zeros(44_100)) == 0).all()


@pytest.mark.parametrize("samples", [1_600, 2_560, 2_561, 40_000])
def test_patches_cover_the_clip(samples: int) -> None:
    frames = LogMelEncoder().encode(torch.randn(samples))
    assert frames.shape == (math.ceil(samples / 2_560), 1024)
    assert frames.dtype == torch.float32
    assert torch.isfinite(frames).all()


def test_a_tone_shows_in_its_band_and_its_patch() -> None:
    """Mel bands are spaced evenly in 2595 log10(1 + f / 700); the tone sounds in the second half alone."""
    waveform = torch.zeros(16_000)
    waveform[8_000:] = 0.5 * torch.sin(2 * torch.pi * 1_000 * torch.arange(8_000) / 16_000)
    frames = LogMelEncoder(bands=32, patch_frames=10).encode(waveform).reshape(10, 10, 32)
    spacing = 2595 * math.log10(1 + 8_000 / 700) / 33
    band = round(2595 * math.log10(1 + 1_000 / 700) / spacing) - 1
    assert (frames[6:].mean(dim=(0, 1)).argmax() - band).abs() <= 1
    assert (frames[:4] == math.log(1e-6)).all()


def test_other_settings_are_another_encoder() -> None:
    encoders = [LogMelEncoder(), LogMelEncoder(bands=32), LogMelEncoder(patch_frames=8)]
    assert [encoder.width for encoder in encoders] == [1024, 512, 512]
    assert len({encoder.fingerprint() for encoder in encoders}) == 3


def test_options_below_one_are_refused() -> None:
    with pytest.raises(ConfigError, match="above 0"):
        LogMelEncoder(bands=0)
