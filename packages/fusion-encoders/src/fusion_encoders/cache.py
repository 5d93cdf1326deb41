"""The feature cache: each clip is encoded once, whatever dataset or run asks for it.

Features are keyed by encoder, hash of its weights, hash of its preprocessing, and the SHA-256 of the clip's bytes.
There is one folder an encoder fingerprint; features are kept in float16 (rounding below 0.05% of a value). What several
processes encode together lies in a folder a share, ``shards/<rank>-of-<world>``, which each of them alone writes; all are read.
A share that was encoded on another machine is put to use by copying its folder there.

Shapes: T frames, A encoder width.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from fusion_core.errors import ConfigError
from fusion_core.files import cache_dir
from fusion_core.journal import Journal
from fusion_core.progress import track

from fusion_encoders.base import FrozenEncoder
from fusion_encoders.faults import MediaFault
from fusion_encoders.feature_store import FeatureStore, FeatureWriter, Frames
from fusion_encoders.sharding import Shard
from fusion_encoders.workers import Clip, encode_clips

SHARDS = "shards"


@dataclass(frozen=True)
class FillReport:
    """What a fill did: clips encoded, clips found in the cache, and the reason for each clip left out, by id.

    ``other_shares`` counts the clips that are left to other processes.
    """

    encoded: int = 0
    cached: int = 0
    quarantined: dict[str, str] = field(default_factory=dict)
    other_shares: int = 0


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
        self._identity = {
            "schema": "fusion.features/1",
            "encoder": encoder.name,
            "width": encoder.width,
            "weights_sha256": encoder.weights_sha256,
            "preprocessing_sha256": encoder.preprocessing_sha256,
            "fingerprint": fingerprint,
        }
        self._store = FeatureStore(folder, encoder.width, self._identity)
        self._shares: dict[str, FeatureStore] = {}
        self._open_shares()

    @property
    def folder(self) -> Path:
        """Where the features lie."""
        return self._store.folder

    def __len__(self) -> int:
        return len(set().union(self._store, *self._shares.values()))

    def has(self, sha256: str) -> bool:
        """Say whether the features of the clip with this SHA-256 are there."""
        return sha256 in self._store or any(sha256 in store for store in self._shares.values())

    def get(self, sha256: str) -> Frames:
        """Return the features x_TA (float16, memory-mapped, read-only) of the clip with this SHA-256.

        Raises:
            DataError: the clip is not in the cache, or its features were damaged on the disk.
        """
        holders = (store for store in self._shares.values() if sha256 in store)
        return (self._store if sha256 in self._store else next(holders, self._store)).read(sha256)

    def writing(self) -> AbstractContextManager[FeatureWriter]:
        """Hold the cache's lock and give a writer, for frames that were computed elsewhere; see ``FeatureStore.writing``."""
        return self._store.writing()

    def fill(
        self, clips: Iterable[tuple[str, Path, str]], workers: int | None = None, shard: Shard | None = None
    ) -> FillReport:
        """Encode the clips (id, path, SHA-256 of the file) that are not in the cache yet.

        A file that cannot be used is left out with its reason, also in ``journal.jsonl`` of the folder. A fill that is
        stopped at any point goes on from there when it is called again. ``workers`` is the number of processes; by
        default one a core, and none beside this one where the work is short. With a ``shard`` only its clips are encoded, while
        other processes encode theirs.

        Raises:
            ConfigError: ``workers`` is below 1.
            DataError: the disk is full; what was encoded before is kept.
            WorkerError: a worker process died.
        """
        if workers is not None and workers < 1:
            raise ConfigError(f"the number of workers must be 1 or more, not {workers}")
        named = [Clip(*clip) for clip in clips]
        wanted = [clip for clip in named if shard is None or shard.holds(clip.sha256)]
        self._store.reload()
        self._open_shares()
        store = self._store if shard is None else self._share(shard.name)
        encoded, quarantined = 0, dict[str, str]()
        while rest := [clip for clip in wanted if not self.has(clip.sha256) and clip.id not in quarantined]:
            with store.writing() as writer:
                distinct = {clip.sha256: clip for clip in reversed(rest) if not self.has(clip.sha256)}
                journal = Journal(store.folder / "journal.jsonl")
                encoded += self._encode(list(reversed(distinct.values())), writer, journal, quarantined, workers)
        cached = len(wanted) - encoded - len(quarantined)
        return FillReport(encoded, cached, quarantined, other_shares=len(named) - len(wanted))

    def _open_shares(self) -> None:
        """Read the indices of all shares that are there."""
        for store in self._shares.values():
            store.reload()
        for folder in sorted((self.folder / SHARDS).glob("*-of-*")):
            self._share(folder.name)

    def _share(self, name: str) -> FeatureStore:
        if name not in self._shares:
            folder = self.folder / SHARDS / name
            self._shares[name] = FeatureStore(folder, self._encoder.width, self._identity)
        return self._shares[name]

    def _encode(
        self,
        clips: Sequence[Clip],
        writer: FeatureWriter,
        journal: Journal,
        quarantined: dict[str, str],
        workers: int | None,
    ) -> int:
        """Encode distinct clips, add the faults to ``quarantined``, and return how many were encoded."""
        started, encoded = time.monotonic(), 0
        with contextlib.closing(encode_clips(self._encoder, clips, workers)) as outcomes:
            for clip, outcome in track(outcomes, f"encoding with {self._encoder.name}", total=len(clips)):
                if isinstance(outcome, MediaFault):
                    quarantined[clip.id] = outcome.reason
                    fault = {"status": outcome.status, "reason": outcome.reason}
                    journal.write("quarantined", id=clip.id, path=str(clip.path), **fault)
                else:
                    writer.append(clip.sha256, outcome)
                    encoded += 1
        seconds = round(time.monotonic() - started, 3)
        journal.write("filled", encoded=encoded, clips=len(clips), seconds=seconds)
        return encoded
