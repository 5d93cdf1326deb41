"""Decode one audio file: any rate, any number of channels, to a mono waveform at the rate that is asked for.

Shapes: S samples, C channels. Times are in seconds, rates in Hz.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor

from fusion_encoders.faults import MediaFault, require_content
from fusion_encoders.video import VIDEO_SUFFIXES, load_sound_track

if TYPE_CHECKING:
    from torchaudio.transforms import Resample

MINIMUM_SECONDS = 0.1
SAMPLE_RATES = (1_000, 768_000)
"""The lowest and highest sampling rate (Hz) that a header may state."""

RESAMPLING = "torchaudio sinc_interp_hann, width 6, rolloff 0.99, ratio to a denominator of 1000; channels averaged"
"""The decoding that every encoder's preprocessing hash covers."""

_BLOCK_FRAMES = 1 << 18
_LARGEST_DENOMINATOR = 1_000
_SMALLEST_DECODED_SHARE = 0.9
"""Whole Ogg and MP3 files decode to up to 0.5% less than their headers say; below this share a file is cut off."""


class AudioFault(MediaFault):
    """An audio file that cannot be used."""


@dataclass(frozen=True)
class AudioInfo:
    """What the header of an audio file says: its length (s), sampling rate (Hz) and number of channels."""

    seconds: float
    sample_rate: int
    channels: int


def probe_audio(path: Path) -> AudioInfo:
    """Read the header of an audio file.

    Raises:
        AudioFault: the file is missing, empty, no audio, or shorter than ``MINIMUM_SECONDS``.
    """
    require_content(path, AudioFault)
    try:
        with soundfile.SoundFile(path) as sound:
            return _checked_info(sound)
    except (soundfile.SoundFileError, OSError) as error:
        raise _unreadable(error) from error


def load_audio(path: Path, sample_rate: int) -> Tensor:
    """Decode an audio file, or the sound track of a video file, to waveform_S at ``sample_rate`` Hz.

    It is float32 and mono, the mean of the channels.

    Raises:
        MediaFault: the file is missing, empty, no audio, cut off, too short, or has samples that are not finite.
    """
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return load_sound_track(path, sample_rate)
    require_content(path, AudioFault)
    try:
        with soundfile.SoundFile(path) as sound:
            info = _checked_info(sound)
            mono_S = _read_mono(sound)
    except (soundfile.SoundFileError, OSError) as error:
        raise _unreadable(error) from error
    seconds = len(mono_S) / info.sample_rate
    if seconds < max(MINIMUM_SECONDS, _SMALLEST_DECODED_SHARE * info.seconds):
        raise AudioFault("corrupt", f"the file is cut off: {seconds:.2f} s of {info.seconds:.2f} s decode")
    if not np.isfinite(mono_S).all():
        raise AudioFault("corrupt", "the audio has samples that are NaN or infinite")
    waveform_S = torch.from_numpy(mono_S)
    if info.sample_rate == sample_rate:
        return waveform_S
    resampled_S: Tensor = _resampler(info.sample_rate, sample_rate)(waveform_S)
    return resampled_S


def _unreadable(error: Exception) -> AudioFault:
    detail = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
    return AudioFault(
        "corrupt", f"the file does not decode as audio ({str(detail).removeprefix('Error :').strip(' .')})"
    )


def _checked_info(sound: soundfile.SoundFile) -> AudioInfo:
    lowest, highest = SAMPLE_RATES
    if not lowest <= sound.samplerate <= highest:
        raise AudioFault("corrupt", f"the header states a sampling rate of {sound.samplerate} Hz")
    info = AudioInfo(sound.frames / sound.samplerate, sound.samplerate, sound.channels)
    if info.seconds < MINIMUM_SECONDS:
        raise AudioFault("too_short", f"the audio lasts {info.seconds:.3f} s, less than {MINIMUM_SECONDS} s")
    return info


def _read_mono(sound: soundfile.SoundFile) -> NDArray[np.float32]:
    """Read block by block, so that neither many channels nor a header that lies about its length fills the memory."""
    blocks = []
    while len(block_SC := sound.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)):
        blocks.append(block_SC[:, 0] if sound.channels == 1 else block_SC.mean(axis=1, dtype=np.float32))
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


@lru_cache(maxsize=32)
def _resampler(source_rate: int, target_rate: int) -> Resample:
    """Return the resampler for a pair of rates, its kernel computed once.

    The kernel has (target / gcd) x (source / gcd) taps, which for two rates without a common divisor would take
    gigabytes; there the ratio is replaced by the nearest one with a small denominator (off by less than 1 in 10^6).
    """
    from torchaudio.transforms import Resample

    ratio = Fraction(target_rate, source_rate).limit_denominator(_LARGEST_DENOMINATOR)
    return Resample(ratio.denominator, ratio.numerator)
