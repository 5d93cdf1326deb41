"""What the feature cache is worth: the features of an epoch read from it, beside encoding the clips again.

Encoding is done in this process, clip by clip: decoding the file, then the encoder. Reading is what a training step does:
memory-mapped frames, padded into a batch. Both are timed on the same batch in turn.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fusion_core.errors import DataError
from fusion_core.progress import track
from fusion_encoders.base import FeatureSequence, FrozenEncoder
from fusion_encoders.cache import FeatureCache

from fusion_train.datasets.base import PreparedDataset
from fusion_train.examples import gather_features


@dataclass(frozen=True)
class FeatureSpeed:
    """Seconds of one epoch's features.

    Attributes:
        clips: how many clips.
        audio_seconds: how long they are.
        encode: seconds of encoding all of them.
        read: seconds of reading all of them from the cache; the median of the readings of each batch, summed.
    """

    clips: int
    audio_seconds: float
    encode: float
    read: float

    @property
    def ratio(self) -> float:
        """How many times faster an epoch's features are with the cache."""
        return self.encode / self.read


def measure_features(
    dataset: PreparedDataset,
    encoder: FrozenEncoder,
    clips: int,
    batch: int = 16,
    repeats: int = 5,
    cache_root: Path | None = None,
) -> FeatureSpeed:
    """Time the features of the first usable clips of the training split, with the cache and without.

    Clips that the cache does not hold yet are put into it first.

    Raises:
        DataError: no clip can be used.
    """
    rows = [row for row in dataset.rows("train") if row.status == "ok" and row.sha256]
    cache = FeatureCache(encoder, cache_root)
    cache.fill(((row.id, dataset.audio_path(row), str(row.sha256)) for row in rows[:clips]), workers=1)
    rows = [row for row in rows[:clips] if cache.has(str(row.sha256))]
    if not rows:
        raise DataError(f"{dataset.root}: no clip of the split 'train' can be encoded; see fusion data verify.")
    encode = read = 0.0
    for start in track(range(0, len(rows), batch), "features"):
        part = rows[start : start + batch]
        encode += _seconds_of_encoding(encoder, [dataset.audio_path(row) for row in part])
        hashes = [str(row.sha256) for row in part]
        read += statistics.median(_seconds_of_reading(cache, hashes) for _ in range(repeats))
    return FeatureSpeed(len(rows), sum(row.seconds or 0.0 for row in rows), encode, read)


def _seconds_of_encoding(encoder: FrozenEncoder, paths: Sequence[Path]) -> float:
    begin = time.perf_counter()
    FeatureSequence.pad([encoder.encode(encoder.read(path)) for path in paths])
    return time.perf_counter() - begin


def _seconds_of_reading(cache: FeatureCache, hashes: Sequence[str]) -> float:
    begin = time.perf_counter()
    gather_features(hashes, cache.get)
    return time.perf_counter() - begin
