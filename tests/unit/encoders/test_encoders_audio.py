"""Decoding: what comes out of good files, and what is said about bad ones."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from fusion_encoders.audio import AudioFault, AudioInfo, load_audio, probe_audio
from hypothesis import given, settings
from hypothesis import strategies as st

RATE = 16_000


def tone(frequency: float, seconds: float, rate: int) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def loudest_frequency(waveform: torch.Tensor, rate: int) -> float:
    spectrum = np.abs(np.fft.rfft(waveform.numpy() * np.hanning(len(waveform))))
    return float(spectrum.argmax() * rate / len(waveform))


def test_float_wav_at_its_own_rate_is_returned_as_it_is(tmp_path: Path) -> None:
    samples = tone(440, 1.0, RATE)
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    waveform = load_audio(tmp_path / "a.wav", RATE)
    assert waveform.dtype == torch.float32
    assert np.array_equal(waveform.numpy(), samples)
    assert probe_audio(tmp_path / "a.wav") == AudioInfo(seconds=1.0, sample_rate=RATE, channels=1)


@pytest.mark.parametrize(
    ("name", "subtype", "rate", "channels"),
    [
        ("8bit.wav", "PCM_U8", 22_050, 1),
        ("studio.wav", "PCM_24", 96_000, 7),
        ("free.flac", "PCM_16", 44_100, 2),
        ("lossy.ogg", "VORBIS", 48_000, 2),
        ("telephone.wav", "ULAW", 8_000, 1),
        ("odd.wav", "PCM_16", 44_099, 1),
    ],
)
def test_a_tone_keeps_its_pitch_loudness_and_length(
    tmp_path: Path, name: str, subtype: str, rate: int, channels: int
) -> None:
    samples = np.repeat(tone(1_000, 1.0, rate)[:, None], channels, axis=1)
    soundfile.write(tmp_path / name, samples, rate, subtype=subtype)
    waveform = load_audio(tmp_path / name, 44_100)
    assert waveform.ndim == 1
    assert len(waveform) == pytest.approx(44_100, abs=10)
    assert loudest_frequency(waveform, 44_100) == pytest.approx(1_000, abs=2)
    assert waveform[1_000:-1_000].abs().max().item() == pytest.approx(0.5, abs=0.05)
    info = probe_audio(tmp_path / name)
    assert (info.sample_rate, info.channels) == (rate, channels)


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = tone(300, 0.5, RATE), tone(700, 0.5, RATE)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), RATE, subtype="FLOAT")
    assert np.allclose(load_audio(tmp_path / "a.wav", RATE).numpy(), (left + right) / 2, atol=1e-7)


def test_a_tone_above_the_new_nyquist_frequency_is_removed(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(15_000, 1.0, 44_100), 44_100, subtype="FLOAT")
    assert load_audio(tmp_path / "a.wav", RATE)[200:-200].abs().max().item() < 0.005


def test_two_rates_without_a_common_divisor_take_no_giant_kernel(tmp_path: Path) -> None:
    """Exact resampling from 44,101 to 44,100 Hz would need a kernel of 44,100 x 44,113 taps, 7.8 GB."""
    soundfile.write(tmp_path / "a.wav", tone(1_000, 0.5, 44_101), 44_101, subtype="FLOAT")
    waveform = load_audio(tmp_path / "a.wav", 44_100)
    assert loudest_frequency(waveform, 44_100) == pytest.approx(1_000, abs=3)


def test_a_file_longer_than_one_block_decodes_whole(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, (1 << 18) + 5).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    assert np.array_equal(load_audio(tmp_path / "a.wav", RATE).numpy(), samples)


def broken_files(folder: Path) -> dict[str, tuple[Path, str, str]]:
    """Return faulty files by name: the path, the status and a word of the reason."""
    folder.mkdir(exist_ok=True)
    good = folder / "good.flac"
    soundfile.write(good, tone(440, 1.0, RATE), RATE)
    files = {
        "empty.wav": (b"", "corrupt", "empty"),
        "text.wav": (b"these are words, not sound\n" * 40, "corrupt", "does not decode"),
        "cut.flac": (good.read_bytes()[:2_000], "corrupt", "does not decode"),
        "garbage.flac": (b"fLaC" + bytes(range(256)) * 20, "corrupt", "does not decode"),
    }
    faults = {}
    for name, (content, status, word) in files.items():
        (folder / name).write_bytes(content)
        faults[name] = (folder / name, status, word)
    soundfile.write(folder / "zero.wav", np.zeros(0, np.float32), RATE)
    soundfile.write(folder / "short.wav", tone(440, 0.099, RATE), RATE)
    soundfile.write(folder / "slow.wav", np.zeros(999, np.float32), 999)
    for name, value in (("nan.wav", np.nan), ("infinite.wav", np.inf)):
        samples = tone(440, 1.0, RATE)
        samples[77] = value
        soundfile.write(folder / name, samples, RATE, subtype="FLOAT")
        faults[name] = (folder / name, "corrupt", "NaN or infinite")
    (folder / "folder.wav").mkdir(exist_ok=True)
    return faults | {
        "zero.wav": (folder / "zero.wav", "too_short", "0.000 s"),
        "short.wav": (folder / "short.wav", "too_short", "0.099 s"),
        "slow.wav": (folder / "slow.wav", "corrupt", "999 Hz"),
        "folder.wav": (folder / "folder.wav", "corrupt", "not a regular file"),
        "absent.wav": (folder / "absent.wav", "missing", "does not exist"),
    }


FAULTS = [
    *("empty.wav", "text.wav", "cut.flac", "garbage.flac", "nan.wav", "infinite.wav"),
    *("zero.wav", "short.wav", "slow.wav", "folder.wav", "absent.wav"),
]


@pytest.mark.parametrize("name", FAULTS)
def test_a_bad_file_is_a_fault_with_status_and_reason(tmp_path: Path, name: str) -> None:
    path, status, word = broken_files(tmp_path / "bad")[name]
    with pytest.raises(AudioFault) as caught:
        load_audio(path, RATE)
    assert caught.value.status == status
    assert word in caught.value.reason
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("name", [name for name in FAULTS if name not in ("nan.wav", "infinite.wav", "cut.flac")])
def test_the_header_alone_tells_most_faults(tmp_path: Path, name: str) -> None:
    path, status, _ = broken_files(tmp_path / "bad")[name]
    with pytest.raises(AudioFault) as caught:
        probe_audio(path)
    assert caught.value.status == status


def test_a_cut_mp3_is_a_fault_and_a_whole_one_is_not(tmp_path: Path) -> None:
    """MP3 headers state the whole length, so a cut one decodes without an error to less."""
    whole, cut = tmp_path / "whole.mp3", tmp_path / "cut.mp3"
    soundfile.write(whole, tone(440, 3.0, 44_100), 44_100)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert len(load_audio(whole, 44_100)) == pytest.approx(3 * 44_100, rel=0.02)
    with pytest.raises(AudioFault, match="cut off"):
        load_audio(cut, 44_100)


def test_a_fault_survives_the_way_between_processes() -> None:
    fault = pickle.loads(pickle.dumps(AudioFault("too_short", "the audio lasts 0.001 s")))
    assert (fault.status, fault.reason, str(fault)) == (
        "too_short",
        "the audio lasts 0.001 s",
        "the audio lasts 0.001 s",
    )


@settings(max_examples=25, deadline=None)
@given(content=st.binary(max_size=300), suffix=st.sampled_from(["wav", "flac", "ogg", "mp3", "aiff"]))
def test_any_bytes_decode_or_are_a_fault(tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str) -> None:
    path = tmp_path_factory.mktemp("any") / f"a.{suffix}"
    path.write_bytes(content)
    with pytest.raises(AudioFault):
        load_audio(path, RATE)


@settings(max_examples=20, deadline=None)
@given(
    source=st.sampled_from([8_000, 11_025, 22_050, 32_000, 44_100, 48_000, 96_000]),
    target=st.sampled_from([16_000, 44_100]),
    samples=st.integers(9_600, 20_000),
)
def test_resampling_keeps_the_length_in_seconds(
    tmp_path_factory: pytest.TempPathFactory, source: int, target: int, samples: int
) -> None:
    path = tmp_path_factory.mktemp("length") / "a.wav"
    soundfile.write(path, np.zeros(samples, np.float32), source)
    assert abs(len(load_audio(path, target)) / target - samples / source) <= 1.5 / min(source, target)
