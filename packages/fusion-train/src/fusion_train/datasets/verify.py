"""Check a prepared dataset on disk: each clip that the manifest calls ok is there, unchanged, and decodes."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from fusion_core.errors import FusionError
from fusion_core.files import sha256_file
from fusion_core.progress import track
from fusion_eval.schemas import ManifestRow, counts_by_status

from fusion_train.datasets.base import PreparedDataset, open_dataset, rows_sha256

CHANGED = "the file is not the one that was prepared (its hash differs)"
LENGTH_TOLERANCE = 0.001
"""How far (s) the decoded length may lie from the manifest's."""
VIDEO_TOLERANCE = 0.1
"""The same of a video, whose clock ticks in frames."""


@dataclass(frozen=True)
class Fault:
    """A clip that cannot be used: its id, its path in the root, and why."""

    id: str
    path: str
    reason: str


@dataclass(frozen=True)
class VerifyReport:
    """What a check found.

    ``counts``: clips by split and status. ``quarantined``: clips that the manifest itself declares unusable.
    ``faults``: clips that the manifest calls ok and that are not, and a manifest that is not the card's.
    """

    dataset: PreparedDataset
    counts: dict[str, dict[str, int]]
    quarantined: tuple[Fault, ...]
    faults: tuple[Fault, ...]

    @property
    def ok(self) -> bool:
        """Whether the folder is what its manifest says."""
        return not self.faults


def verify(root: Path) -> VerifyReport:
    """Check every clip of a prepared dataset.

    Raises:
        DataError: the folder holds no finished dataset.
    """
    dataset = open_dataset(root)
    rows = dataset.manifest
    good = [row for row in rows if row.status == "ok"]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:  # soundfile and hashlib let other threads run
        reasons = track(pool.map(lambda row: _fault(dataset, row), good), "verify", total=len(good))
        faults = [Fault(row.id, row.path, reason) for row, reason in zip(good, reasons, strict=True) if reason]
    if rows_sha256(rows) != dataset.card.manifest_sha256:
        faults.insert(0, Fault("-", "manifest.parquet", "the manifest is not the one that dataset.json names"))
    return VerifyReport(dataset, count_rows(rows), quarantined(rows), tuple(faults))


def count_rows(rows: list[ManifestRow]) -> dict[str, dict[str, int]]:
    """Return the number of clips by split and status."""
    splits = dict.fromkeys(row.split for row in rows)
    return {split: counts_by_status(row for row in rows if row.split == split) for split in splits}


def quarantined(rows: list[ManifestRow]) -> tuple[Fault, ...]:
    """Return the clips that a manifest declares unusable."""
    return tuple(Fault(row.id, row.path, row.reason or row.status) for row in rows if row.status != "ok")


def _fault(dataset: PreparedDataset, row: ManifestRow) -> str | None:
    """Return what is wrong with a clip or an image that the manifest calls ok, or None."""
    from fusion_encoders.audio import load_audio, probe_audio
    from fusion_encoders.images import IMAGE_SUFFIXES, load_image
    from fusion_encoders.video import VIDEO_SUFFIXES

    try:
        path = dataset.audio_path(row)
        if path.suffix.lower() in IMAGE_SUFFIXES:
            load_image(path)
            return CHANGED if row.sha256 is not None and sha256_file(path) != row.sha256 else None
        if path.suffix.lower() in VIDEO_SUFFIXES:
            return _video_fault(path, row)
        info = probe_audio(path)
        if row.sha256 is not None and sha256_file(path) != row.sha256:
            return CHANGED
        seconds = len(load_audio(path, info.sample_rate)) / info.sample_rate
    except FusionError as error:
        return str(error)
    if row.seconds is not None and abs(seconds - row.seconds) > LENGTH_TOLERANCE:
        return f"the audio lasts {seconds:.3f} s, the manifest says {row.seconds:.3f} s"
    return None


def _video_fault(path: Path, row: ManifestRow) -> str | None:
    """Return what is wrong with a video, or None.

    Raises:
        MediaFault: it does not decode.
    """
    from fusion_encoders.video import probe_video

    seconds = probe_video(path).seconds
    if row.sha256 is not None and sha256_file(path) != row.sha256:
        return CHANGED
    if row.seconds is not None and abs(seconds - row.seconds) > VIDEO_TOLERANCE:
        return f"the video lasts {seconds:.3f} s, the manifest says {row.seconds:.3f} s"
    return None
