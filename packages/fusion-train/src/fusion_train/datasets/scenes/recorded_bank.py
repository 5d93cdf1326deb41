"""The bank of real recordings: decoded and cropped once into one array on disk, which the workers map into memory.

Shapes: S samples, N frames. Rates in Hz, times in s.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from fusion_core.errors import DataError
from fusion_core.progress import track
from fusion_train.datasets.scenes.graph import Role, Source
from fusion_train.datasets.scenes.options import SPLITS, Split
from fusion_train.datasets.scenes.recordings import Recording, assign_splits, read_bank
from fusion_train.datasets.scenes.signals import Waveform, swell
from fusion_train.datasets.scenes.vocabulary import Kind, sound
from numpy.typing import NDArray
from scipy import fft

LONGEST = {"background": 20.0, "sustained": 4.0, "shot": 4.0}
"""How much of a recording is kept (s), by kind: its loudest part."""

SHOT_SECONDS = 1.5
"""A recording of a single shot is at most this long; longer ones, and those with several bursts, are never counted."""

REPEATED_BELOW = 1.0
"""A sustained sound of which the recording is shorter than this (s), such as one footstep, is repeated."""

_INAUDIBLE = 1e-4
_FRAME = 0.02
_SILENCE = 10 ** (-40 / 20)
_BURST = 10 ** (-15 / 20)
_JOINED_FRAMES = 3
_CROSSFADE = 0.05
_PAUSE = 0.25


@dataclass(frozen=True)
class Clip:
    """A cropped recording: where it lies in the array, its character, and whether it is one single shot."""

    recording: Recording
    split: Split
    start: int
    samples: int
    character: float
    single: bool


class RecordedBank:
    """Recordings by class and split, kept as 16-bit samples in the file ``store``."""

    def __init__(self, store: Path, rate: int, clips: Sequence[Clip], left_out: dict[str, str]) -> None:
        self.store = store
        self.rate = rate
        self.clips = tuple(clips)
        self._left_out = left_out

    @property
    def left_out(self) -> Mapping[str, str]:
        """The recordings that cannot be used, with the reasons."""
        return self._left_out

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "samples_S"}

    @cached_property
    def samples_S(self) -> NDArray[np.int16]:  # noqa: N802 (the shape is part of the name)
        """The samples of all clips, one after the other."""
        return np.asarray(np.load(self.store, mmap_mode="r"))

    def classes(self, split: Split) -> tuple[str, ...]:
        """Return the classes of which a split has recordings."""
        return tuple(sorted({clip.recording.sound_class for clip in self.clips if clip.split == split}))

    def draw(self, sound_class: str, role: Role, split: Split, generator: np.random.Generator) -> Source:
        """Choose a recording of the class and split, then one of its files, all equally likely."""
        files: dict[str, list[int]] = {}
        for number, clip in enumerate(self.clips):
            if clip.recording.sound_class == sound_class and clip.split == split:
                files.setdefault(clip.recording.recording, []).append(number)
        chosen = files[sorted(files)[generator.integers(len(files))]]
        number = chosen[generator.integers(len(chosen))]
        clip = self.clips[number]
        seconds: float | None = clip.samples / self.rate
        if role == "background" or (
            sound(sound_class).kind == "sustained" and clip.samples < REPEATED_BELOW * self.rate
        ):
            seconds = None
        details = {"clip": number, "position": round(float(generator.uniform()), 6), **clip.recording.credit}
        return Source(sound_class, seconds, clip.character, clip.single, details)

    def render(self, source: Source, samples: int, split: Split, generator: np.random.Generator) -> Waveform:
        """Return waveform_S of a recording: a whole shot, or a piece of the length asked for, looped where needed."""
        clip = self.clips[source.details["clip"]]
        waveform_S = self.samples_S[clip.start : clip.start + clip.samples].astype(np.float32) / 32_768
        if sound(source.sound_class).kind == "shot":
            return waveform_S
        if clip.samples >= samples:
            first = int(source.details["position"] * (clip.samples - samples))
            return waveform_S[first : first + samples]
        return _looped(waveform_S, samples, self.rate)

    def statistics(self) -> dict[str, Any]:
        """Return, by class, the number of original recordings in each split, and the files that were left out."""
        table: dict[str, Any] = {}
        for name in sorted({clip.recording.sound_class for clip in self.clips}):
            clips = [clip for clip in self.clips if clip.recording.sound_class == name]
            table[name] = {
                split: len({clip.recording.recording for clip in clips if clip.split == split}) for split in SPLITS
            }
        return table

    def licence(self, source: Source) -> str:
        """Return the licence that the bank's list gives."""
        return str(source.details["licence"])

    def listing(self) -> list[dict[str, str]]:
        """Return every recording with its class, its split and its credits, in the columns of a bank's list."""
        return [
            {"sound_class": clip.recording.sound_class, "split": clip.split, **clip.recording.credit}
            for clip in self.clips
        ]


@dataclass(frozen=True)
class _Piece:
    """A decoded and cropped recording; ``brightness`` is the centre of its spectrum in Hz."""

    recording: Recording
    samples_S: NDArray[np.int16]
    brightness: float
    single: bool


def load_bank(folder: Path, store: Path, rate: int, minimum: int) -> RecordedBank:
    """Decode the usable classes of a bank into ``store``; ``minimum``: how many recordings a class needs.

    Raises:
        DataError: the list of the bank is absent or malformed, or no class can be used.
    """
    recordings = read_bank(folder)
    candidates = assign_splits(recordings, minimum)
    wanted = [item for item in recordings if item.sound_class in candidates]
    left_out: dict[str, str] = {}
    pieces: list[_Piece] = []
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:  # decoding lets other threads run
        results = pool.map(lambda item: _decode(folder, item, rate), wanted)
        for item, result in zip(wanted, track(results, "read the bank", total=len(wanted)), strict=True):
            if isinstance(result, str):
                left_out[item.path] = result
            else:
                pieces.append(result)
    splits = assign_splits([piece.recording for piece in pieces], minimum)
    pieces = [piece for piece in pieces if piece.recording.sound_class in splits]
    if not pieces:
        raise DataError(f"{folder} has no class with {minimum} recordings that decode; add recordings.")
    store.parent.mkdir(parents=True, exist_ok=True)
    np.save(store, np.concatenate([piece.samples_S for piece in pieces]))
    return RecordedBank(store, rate, _clips(pieces, splits), left_out)


def crop(waveform_S: Waveform, rate: int, kind: Kind) -> tuple[Waveform, bool]:
    """Return the part of a recording that is kept, and whether it is one single shot.

    Silence at both ends is cut off; of what is longer than ``LONGEST`` the loudest stretch is kept.
    """
    frame = int(_FRAME * rate)
    levels_N = _levels(waveform_S, frame)
    active = np.flatnonzero(levels_N > _SILENCE * levels_N.max())
    trimmed_S = waveform_S[active[0] * frame : (active[-1] + 1) * frame]
    single = kind == "shot" and len(trimmed_S) <= SHOT_SECONDS * rate and _bursts(_levels(trimmed_S, frame)) == 1
    longest = int(LONGEST[kind] * rate)
    if len(trimmed_S) > longest:
        energy_S = np.cumsum(np.append(0.0, trimmed_S.astype(np.float64) ** 2))
        first = int(np.argmax(energy_S[longest:] - energy_S[:-longest]))
        trimmed_S = trimmed_S[first : first + longest]
    return trimmed_S, single


def _decode(folder: Path, item: Recording, rate: int) -> _Piece | str:
    """Return a recording, cropped and as loud as 16 bits allow, or why it cannot be used."""
    from fusion_encoders.audio import AudioFault, load_audio

    path = folder / item.path
    if not path.resolve().is_relative_to(folder.resolve()):
        return "a link that leaves the bank's folder is not followed"
    try:
        waveform_S = load_audio(path, rate).numpy()
    except AudioFault as fault:
        return fault.reason
    peak = np.abs(waveform_S).max()
    if peak < _INAUDIBLE:
        return "the file is silent"
    cropped_S, single = crop(waveform_S, rate, sound(item.sound_class).kind)
    power = np.abs(fft.rfft(cropped_S)) ** 2
    brightness = float(power @ fft.rfftfreq(len(cropped_S), 1 / rate) / power.sum())
    return _Piece(item, np.round(cropped_S * (32_767 / peak)).astype(np.int16), brightness, single)


def _clips(pieces: Sequence[_Piece], splits: dict[str, dict[str, Split]]) -> list[Clip]:
    """Return where each piece lies; its character is its rank in brightness within the class."""
    clips, start = [], 0
    for piece in pieces:
        name, samples = piece.recording.sound_class, len(piece.samples_S)
        others = [other.brightness for other in pieces if other.recording.sound_class == name]
        rank = sum(other < piece.brightness for other in others) + 0.5
        split = splits[name][piece.recording.recording]
        clips.append(Clip(piece.recording, split, start, samples, rank / len(others), piece.single))
        start += samples
    return clips


def _levels(waveform_S: Waveform, frame: int) -> NDArray[np.float32]:
    """Return the RMS_N of each frame; the last one may be short of samples and is filled with zeros."""
    padded_S = np.pad(waveform_S, (0, -len(waveform_S) % frame))
    levels: NDArray[np.float32] = np.sqrt((padded_S.reshape(-1, frame) ** 2).mean(axis=1))
    return levels


def _bursts(levels_N: NDArray[np.float32]) -> int:
    """Return how many stretches of frames are loud, those with a gap of a few frames taken as one."""
    loud = np.flatnonzero(levels_N > _BURST * levels_N.max())
    return 1 + int((np.diff(loud) > _JOINED_FRAMES + 1).sum())


def _looped(waveform_S: Waveform, samples: int, rate: int) -> Waveform:
    """Return a waveform repeated to a length: short ones with pauses between, long ones faded into each other."""
    if len(waveform_S) < REPEATED_BELOW * rate:
        hop = len(waveform_S) + int(_PAUSE * rate)
    else:
        fade = int(_CROSSFADE * rate)
        waveform_S = waveform_S * swell(len(waveform_S), rate, _CROSSFADE, _CROSSFADE)
        hop = len(waveform_S) - fade
    looped_S = np.zeros(samples + len(waveform_S), np.float32)
    for start in range(0, samples, hop):
        looped_S[start : start + len(waveform_S)] += waveform_S
    return looped_S[:samples]
