"""Which clips of two prepared datasets, or of two splits of one, are the same recording.

Three signs: the same source (a video of YouTube, a sound of Freesound), the same bytes, and the same sound by its
fingerprint (``fusion_encoders.fingerprint``), which also finds copies that were resampled or re-encoded.

Shapes: N clips of the first, M of the second dataset, A signs of a fingerprint.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from fusion_core.errors import DataError
from fusion_encoders.cache import FeatureCache
from fusion_encoders.fingerprint import FingerprintEncoder
from fusion_eval.schemas import ManifestRow
from numpy.typing import NDArray

from fusion_train.datasets.base import PreparedDataset

SOURCES = "sources.json"
VIDEO_FILE = re.compile(r"Y?(?P<video>[A-Za-z0-9_-]{11})(?:_(?P<start>\d+)(?:[._].*)?)?")
"""How files of clips of YouTube are called."""

SAME_SOUND = 0.6
"""Share of agreeing signs, minus that of others, from which two clips are taken for one recording.

Of 28,594 pairs of different recordings none agrees by more than .36. Found are copies in Ogg (all), in MP3 or at 16 kHz (99%),
at a third of the level (98%), 50 ms late (95%) or with noise 30 dB below (84%); 239 recordings, docs/LOG.md.
"""

_FEWEST_SIGNS = 60
"""A clip that is silent for the most part has too few signs to be known by."""

_BLOCK = 2048


@dataclass(frozen=True)
class Match:
    """Two clips that are one recording: the ids and splits, and by which of source, bytes and sound they were found."""

    first: str
    first_split: str
    second: str
    second_split: str
    signs: tuple[str, ...]


def overlap(first: PreparedDataset, second: PreparedDataset | None = None, sounds: bool = True) -> list[Match]:
    """Return the clips of two datasets that are one recording, or those of different splits of one dataset.

    Args:
        first: a dataset.
        second: the other; None compares the splits of the first.
        sounds: compare the sound too, for which every usable clip is decoded once.

    Raises:
        DataError: a dataset's files are malformed.
    """
    other = second or first
    found: dict[tuple[int, int], list[str]] = defaultdict(list)
    signs: list[tuple[str, Iterable[tuple[int, int]]]] = [
        ("source", _equal(sources(first), sources(other))),
        ("bytes", _equal([row.sha256 for row in first.manifest], [row.sha256 for row in other.manifest])),
    ]
    if sounds:
        prints_NA = fingerprints(first)
        signs.append(("sound", alike(prints_NA, prints_NA if second is None else fingerprints(other))))
    for sign, pairs in signs:
        for pair in pairs:
            found[pair].append(sign)
    return [
        match
        for (one, two), by in sorted(found.items())
        if (match := _match(first.manifest[one], other.manifest[two], by, one < two, second is None)) is not None
    ]


def sources(dataset: PreparedDataset) -> list[str | None]:
    """Return the recording that each clip is cut from: as the corpus says, or as the file's name lets one guess.

    Raises:
        DataError: the file of sources is malformed.
    """
    path = dataset.root / SOURCES
    if not path.is_file():
        return [_guess(row.path) for row in dataset.manifest]
    try:
        known: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); prepare the dataset again.") from error
    return [known.get(row.id) for row in dataset.manifest]


def fingerprints(dataset: PreparedDataset) -> NDArray[np.float32]:
    """Return the fingerprints x_NA of all clips, zeros where a clip cannot be used; they are kept in the feature cache."""
    cache = FeatureCache(FingerprintEncoder())
    rows = [(row, row.sha256) for row in dataset.manifest if row.status == "ok" and row.sha256 is not None]
    cache.fill((row.id, dataset.audio_path(row), digest) for row, digest in rows)
    blank_A = np.zeros(FingerprintEncoder.width, np.float32)
    return np.stack(
        [
            cache.get(row.sha256)[0].astype(np.float32) if row.sha256 and cache.has(row.sha256) else blank_A
            for row in dataset.manifest
        ]
    )


def alike(first_NA: NDArray[np.float32], second_MA: NDArray[np.float32]) -> Iterator[tuple[int, int]]:
    """Yield the pairs of clips whose signs agree, by their positions."""
    keys_MA = _unit(second_MA)
    for start in range(0, len(first_NA), _BLOCK):
        agreement_NM = _unit(first_NA[start : start + _BLOCK]) @ keys_MA.T
        for one, two in np.argwhere(agreement_NM >= SAME_SOUND):
            yield start + int(one), int(two)


def _unit(signs_NA: NDArray[np.float32]) -> NDArray[np.float32]:
    count_N1 = np.abs(signs_NA).sum(axis=1, keepdims=True)
    units: NDArray[Any] = np.where(count_N1 >= _FEWEST_SIGNS, signs_NA / np.sqrt(np.maximum(count_N1, 1)), 0)
    return units.astype(np.float32)


def _equal(first: Sequence[str | None], second: Sequence[str | None]) -> Iterator[tuple[int, int]]:
    places: dict[str, list[int]] = defaultdict(list)
    for position, value in enumerate(second):
        if value is not None:
            places[value].append(position)
    for one, value in enumerate(first):
        for two in places.get(value, ()) if value is not None else ():
            yield one, two


def _match(one: ManifestRow, two: ManifestRow, signs: list[str], ordered: bool, within: bool) -> Match | None:
    """Return the match; within one dataset only of different splits, and once."""
    if within and (one.split == two.split or not ordered):
        return None
    return Match(one.id, one.split, two.id, two.split, tuple(signs))


def _guess(path: str) -> str | None:
    """Return the source that a file's name stands for: a number is one of Freesound, 11 characters are one of YouTube."""
    stem = Path(PurePosixPath(path).name).stem
    if stem.isdigit():
        return f"freesound:{int(stem)}"
    match = VIDEO_FILE.fullmatch(stem)
    return f"youtube:{match['video']}" if match else None
