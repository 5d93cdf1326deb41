"""The feature cache: each clip is encoded once, whatever dataset or run asks for it.

Features are keyed by encoder, hash of its weights, hash of its preprocessing, and the SHA-256 of the clip's bytes.
There is one folder an encoder fingerprint; features are kept in float16 (rounding below 0.05% of a value).

Shapes: T frames, A encoder width.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fusion_core.errors import ConfigError
from fusion_core.files import cache_dir
from fusion_core.journal import Journal
from fusion_core.progress import track

from fusion_encoders.audio import AudioFault
from fusion_encoders.base import FrozenEncoder
from fusion_encoders.feature_store import FeatureStore, FeatureWriter, Frames
from fusion_encoders.workers import Clip, encode_clips


@dataclass(frozen=True)
class FillReport:
    """What a fill did: clips encoded, clips found in the cache, and the reason for each clip left out, by id."""

    encoded: int = 0
    cached: int = 0
    quarantined: dict[str, str] = field(default_factory=dict)


class FeatureCache:
    """The cached features of one encoder.

    ``root`` is the folder that holds one folder an encoder; by default ``features`` in the user's cache.

    Raises:
        DataError: the encoder's folder holds features of another encoder.
    """

    def __init__(self, encoder: FrozenEncoder, root: Path | None = None) -> None:
        self._encoder = encoder
        fingerprint = encoder.fingerprint()
        folder = (root or cache_dir() / "features") / f"{encoder.name}-{fingerprint[:16]}"
        identity = {
            "schema": "fusion.features/1",
            "encoder": encoder.name,
            "width": encoder.width,
            "weights_sha256": encoder.weights_sha256,
            "preprocessing_sha256": encoder.preprocessing_sha256,
            "fingerprint": fingerprint,
        }
        self._store = FeatureStore(folder, encoder.width, identity)

    @property
    def folder(self) -> Path:
        """Where the features lie."""
        return self._store.folder

    def __len__(self) -> int:
        return len(self._store)

    def has(self, sha256: str) -> bool:
        """Say whether the features of the clip with this SHA-256 are there."""
        return sha256 in self._store

    def get(self, sha256: str) -> Frames:
        """Return the features x_TA (float16, memory-mapped, read-only) of the clip with this SHA-256.

        Raises:
            DataError: the clip is not in the cache, or its features were damaged on the disk.
        """
        return self._store.read(sha256)

    def fill(self, clips: Iterable[tuple[str, Path, str]], workers: int | None = None) -> FillReport:
        """Encode the clips (id, path, SHA-256 of the file) that are not in the cache yet.

        A file that cannot be used is left out with its reason, also in ``journal.jsonl`` of the folder. A fill that is
        stopped at any point goes on from there when it is called again. ``workers`` is the number of processes; by
        default one a core, and none beside this one where the work is short.

        Raises:
            ConfigError: ``workers`` is below 1.
            DataError: the disk is full; what was encoded before is kept.
            WorkerError: a worker process died.
        """
        if workers is not None and workers < 1:
            raise ConfigError(f"the number of workers must be 1 or more, not {workers}")
        wanted = [Clip(*clip) for clip in clips]
        self._store.reload()
        encoded, quarantined = 0, dict[str, str]()
        while rest := [clip for clip in wanted if not self.has(clip.sha256) and clip.id not in quarantined]:
            with self._store.writing() as writer:
                distinct = {clip.sha256: clip for clip in reversed(rest) if not self.has(clip.sha256)}
                encoded += self._encode(list(reversed(distinct.values())), writer, quarantined, workers)
        return FillReport(encoded, len(wanted) - encoded - len(quarantined), quarantined)

    def _encode(
        self, clips: Sequence[Clip], writer: FeatureWriter, quarantined: dict[str, str], workers: int | None
    ) -> int:
        """Encode distinct clips, add the faults to ``quarantined``, and return how many were encoded."""
        journal = Journal(self.folder / "journal.jsonl")
        started, encoded = time.monotonic(), 0
        with contextlib.closing(encode_clips(self._encoder, clips, workers)) as outcomes:
            for clip, outcome in track(outcomes, f"encoding with {self._encoder.name}", total=len(clips)):
                if isinstance(outcome, AudioFault):
                    quarantined[clip.id] = outcome.reason
                    fault = {"status": outcome.status, "reason": outcome.reason}
                    journal.write("quarantined", id=clip.id, path=str(clip.path), **fault)
                else:
                    writer.append(clip.sha256, outcome)
                    encoded += 1
        seconds = round(time.monotonic() - started, 3)
        journal.write("filled", encoded=encoded, clips=len(clips), seconds=seconds)
        return encoded
