"""Decode every file of a dataset once, and remember what was found, so that a preparation can be cut off and go on.

<root>/inspected.jsonl  one line a file: its path, size and time of change, and what decoding it gave
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from fusion_core.files import sha256_file
from fusion_core.progress import track
from fusion_encoders.audio import AudioFault, load_audio, probe_audio
from fusion_encoders.faults import FaultStatus, MediaFault
from fusion_encoders.video import VIDEO_SUFFIXES, load_frames, probe_video

LEDGER = "inspected.jsonl"
_FRAMES_A_SECOND = 2.0
_WINDOW = 512
"""Files that are under way at once: what bounds the memory of a large dataset."""


@dataclass(frozen=True)
class Inspection:
    """What decoding a file gave: length (s), sampling rate (Hz) and SHA-256, or the status and reason of its fault."""

    seconds: float | None = None
    sample_rate: int | None = None
    sha256: str | None = None
    status: FaultStatus | None = None
    reason: str | None = None

    def row(self) -> dict[str, Any]:
        """Return the fields of the manifest that it decides."""
        return {**asdict(self), "status": self.status or "ok"}


MISSING = Inspection(status="missing", reason="the file does not exist")


def inspect_files(audio_dir: Path, paths: Sequence[str], root: Path) -> Iterator[Inspection]:
    """Yield what decoding each file gives, in order; a file that was inspected before and has not changed is not read.

    Args:
        audio_dir: the folder that the paths are in.
        paths: the files.
        root: the dataset's root, which keeps the ledger.
    """
    known = _read_ledger(root / LEDGER)
    root.mkdir(parents=True, exist_ok=True)
    with (root / LEDGER).open("a", encoding="utf-8") as ledger, ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for path, stamp, found in track(_inspections(audio_dir, paths, known, pool), "inspect", total=len(paths)):
            if stamp is not None and known.get(path, (None,))[0] != stamp:
                _remember(ledger, path, stamp, found)
            yield found


def inspect_file(audio_dir: Path, path: str) -> Inspection:
    """Decode a file whole; soundfile and hashlib let other threads run meanwhile."""
    place = audio_dir / path
    try:
        if not place.resolve().is_relative_to(audio_dir.resolve()):
            raise AudioFault("missing", "a link that leaves the audio folder is not followed")
        if place.suffix.lower() in VIDEO_SUFFIXES:
            return _inspect_video(place)
        _require_whole(place)
        info = probe_audio(place)
        samples = len(load_audio(place, info.sample_rate))
    except MediaFault as fault:
        return Inspection(status=fault.status, reason=fault.reason)
    return Inspection(samples / info.sample_rate, info.sample_rate, sha256_file(place))


def _inspect_video(path: Path) -> Inspection:
    """Decode two frames of every second; a video without a sound track is whole too."""
    info = probe_video(path)
    load_frames(path, _FRAMES_A_SECOND)
    return Inspection(info.seconds, None, sha256_file(path))


def _require_whole(path: Path) -> None:
    """Refuse a WAV file that was cut off: decoders take it for a short clip, though its header says how long it was.

    A header that was written before the length was known says 0 or the largest number.

    Raises:
        AudioFault: the file is shorter than its header says.
    """
    if not path.is_file():
        return
    with path.open("rb") as stream:
        kind, size, form = stream.read(4), int.from_bytes(stream.read(4), "little"), stream.read(4)
    stated = size + 8
    if (kind, form) == (b"RIFF", b"WAVE") and size not in _LENGTH_UNKNOWN and stated > path.stat().st_size + 1:
        raise AudioFault("corrupt", f"the file is cut off: {path.stat().st_size} of {stated} bytes are there")


_LENGTH_UNKNOWN = (0, 0xFFFFFFFF)

_Stamp = tuple[int, int]
"""Size (bytes) and time of change (ns) of a file."""

_Known = dict[str, tuple[_Stamp, Inspection]]


def _inspections(
    audio_dir: Path, paths: Sequence[str], known: _Known, pool: ThreadPoolExecutor
) -> Iterator[tuple[str, _Stamp | None, Inspection]]:
    def inspect(path: str) -> tuple[str, _Stamp | None, Inspection]:
        stamp = _stamp(audio_dir / path)
        before = known.get(path)
        return path, stamp, before[1] if before and before[0] == stamp else inspect_file(audio_dir, path)

    for start in range(0, len(paths), _WINDOW):
        yield from pool.map(inspect, paths[start : start + _WINDOW])


def _stamp(path: Path) -> _Stamp | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_size, facts.st_mtime_ns


def _read_ledger(path: Path) -> _Known:
    """Return what was inspected before; a line that a kill cut off is left out."""
    known: _Known = {}
    if not path.is_file():
        return known
    with path.open(encoding="utf-8", errors="replace") as stream:
        for line in stream:
            try:
                entry = json.loads(line)
                known[entry["path"]] = (entry["size"], entry["changed"]), Inspection(**entry["found"])
            except (json.JSONDecodeError, KeyError, TypeError):
                continue
    return known


def _remember(ledger: TextIO, path: str, stamp: _Stamp, found: Inspection) -> None:
    facts = {name: value for name, value in asdict(found).items() if value is not None}
    line = json.dumps({"path": path, "size": stamp[0], "changed": stamp[1], "found": facts}, ensure_ascii=False)
    ledger.write(line + "\n")
    ledger.flush()
