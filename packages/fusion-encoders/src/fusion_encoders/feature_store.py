"""The files of the feature cache: frames in one growing file, an append-only index beside it.

    <folder>/encoder.json    which encoder, weights and preprocessing the frames come from
    <folder>/frames.f16      the frames of all clips one after another, little-endian float16 (or another type: frames.u2, …)
    <folder>/index.bin       one record a clip: its SHA-256, where its frames are, checksums
    <folder>/writer.lock     held by the one process that writes

Frames reach the disk before the record that names them, so a kill at any point leaves a prefix of good records; the
next writer cuts off what lies behind it. Readers take no lock: what they have read of the index stays true.

Shapes: T frames, A encoder width.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from fusion_core.errors import DataError
from fusion_core.files import write_atomic
from fusion_core.locks import waiting_lock
from numpy.typing import NDArray

from fusion_encoders.base import canonical_json

Frames = NDArray[Any]

_FRAME_TYPE = np.dtype("<f2")
_RECORD = struct.Struct("<32sQII")
"""SHA-256 of the clip, its first frame, its number of frames, the CRC-32 of the frames; a CRC-32 of this follows."""
_CHECKSUM = struct.Struct("<I")
_RECORD_BYTES = _RECORD.size + _CHECKSUM.size
_COMMIT_CLIPS = 64
_COMMIT_SECONDS = 2.0
RESIDENT_BYTES = 256 << 20
"""How much of the mapped frames may stay in this process's memory before it gives the pages back."""
_MAPPED_AROUND = 64 << 10
"""How many bytes Linux maps around those that are read, where it holds them."""


class _Place(NamedTuple):
    first: int
    frames: int
    checksum: int


class FeatureStore:
    """The frames of many clips by the SHA-256 of their files, in one folder of one encoder.

    ``identity`` says where the frames come from; it is written to ``encoder.json`` and must agree with what is there.
    ``frame_type`` is the little-endian type in which they are kept.
    """

    def __init__(
        self, folder: Path, width: int, identity: dict[str, Any], frame_type: np.dtype[Any] = _FRAME_TYPE
    ) -> None:
        self.folder = folder
        self.width = width
        self.frame_type = frame_type
        self._frames_name = "frames.f16" if frame_type == _FRAME_TYPE else f"frames.{frame_type.str[1:]}"
        self._identity = canonical_json(identity).encode()
        self._places: dict[str, _Place] = {}
        self._end = (0, 0)
        self._frames: Frames | None = None
        self._mapping: mmap.mmap | None = None
        self._resident = 0
        self.reload()

    def __contains__(self, sha256: str) -> bool:
        return sha256 in self._places

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def reload(self) -> None:
        """Read the index again, to see what another process has added.

        Raises:
            DataError: the folder holds the frames of another encoder.
        """
        self._frames, self._mapping, self._resident = None, None, 0
        self._places, self._end = {}, (0, 0)
        card = self.folder / "encoder.json"
        if not card.exists():
            return
        if card.read_bytes() != self._identity:
            raise DataError(f"{card} names another encoder than the one that reads it: delete the folder {self.folder}")
        records = list(_good_records(self._path("index.bin"), self._available_frames()))
        if records:
            self._places = dict(records)
            last = records[-1][1]
            self._end = (len(records), last.first + last.frames)

    def read(self, sha256: str) -> Frames:
        """Return the frames x_TA of a clip, memory-mapped and read-only.

        Raises:
            DataError: the clip is not in the store, or its frames were damaged on the disk.
        """
        place = self._places.get(sha256)
        if place is None:
            raise DataError(f"clip {sha256} is not in the feature cache {self.folder}: encode the dataset first")
        if self._frames is None:
            self._frames = self._map_frames()
        x_TA = self._frames[place.first : place.first + place.frames]
        self._bound_memory(x_TA.nbytes)
        if zlib.crc32(x_TA.data) != place.checksum:
            raise DataError(
                f"{self._path(self._frames_name)} is damaged at clip {sha256}: delete the folder {self.folder}"
            )
        return x_TA

    def _map_frames(self) -> Frames:
        path, frames = self._path(self._frames_name), self._end[1]
        try:
            with path.open("rb") as stream:
                length = frames * self.width * self.frame_type.itemsize
                self._mapping = mmap.mmap(stream.fileno(), length, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise DataError(f"{path} was cut or removed while it was in use: encode the dataset again") from error
        return np.frombuffer(self._mapping, self.frame_type).reshape(frames, self.width)

    def _bound_memory(self, read: int) -> None:
        """Give the pages that were read back to the system now and then; arrays that are in use fetch theirs again."""
        self._resident += read + _MAPPED_AROUND
        if self._resident > RESIDENT_BYTES and self._mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._mapping.madvise(mmap.MADV_DONTNEED)
            self._resident = read + _MAPPED_AROUND

    @contextlib.contextmanager
    def writing(self) -> Iterator[FeatureWriter]:
        """Hold the lock, cut off the tail that a kill left, and give a writer; waits while another process writes.

        Raises:
            DataError: the disk is full or the folder cannot be written; what was committed before stays.
        """
        with contextlib.ExitStack() as held:
            with self._disk_errors():
                held.enter_context(waiting_lock(self._path("writer.lock"), f"filling {self.folder}"))
            self.reload()
            with self._disk_errors():
                if not (self.folder / "encoder.json").exists():
                    write_atomic(self.folder / "encoder.json", self._identity)
                writer = FeatureWriter(self._path(self._frames_name), self._path("index.bin"), self)
            try:
                with self._disk_errors():
                    yield writer
            finally:
                with self._disk_errors():
                    writer.close()
                self.reload()

    def end(self) -> tuple[int, int]:
        """Return how many records and how many frames are committed."""
        return self._end

    @contextlib.contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise _write_error(self.folder, error) from error

    def _available_frames(self) -> int:
        path = self._path(self._frames_name)
        return path.stat().st_size // (self.width * self.frame_type.itemsize) if path.exists() else 0

    def _path(self, name: str) -> Path:
        return self.folder / name


class FeatureWriter:
    """Appends clips to a store; used through ``FeatureStore.writing``.

    Frames are written at once, their records at a commit: every 64 clips, every 2 s and at the end.
    """

    def __init__(self, frames_path: Path, index_path: Path, store: FeatureStore) -> None:
        self._store = store
        self._records, self._frames = store.end()
        self._frame_bytes = store.width * store.frame_type.itemsize
        self._frames_file = os.open(frames_path, os.O_RDWR | os.O_CREAT, 0o666)
        self._index_file = os.open(index_path, os.O_RDWR | os.O_CREAT, 0o666)
        self._pending: list[bytes] = []
        self._pending_frames = 0
        self._committed_at = time.monotonic()
        self._roll_back()

    def append(self, sha256: str, x_TA: Frames) -> None:
        """Add the frames of one clip.

        Raises:
            DataError: the disk is full; the clips of the last commits stay.
        """
        data = np.ascontiguousarray(x_TA, dtype=self._store.frame_type).tobytes()
        record = _RECORD.pack(bytes.fromhex(sha256), self._frames + self._pending_frames, len(x_TA), zlib.crc32(data))
        try:
            write_all(self._frames_file, data)
            self._pending.append(record + _CHECKSUM.pack(zlib.crc32(record)))
            self._pending_frames += len(x_TA)
            if len(self._pending) >= _COMMIT_CLIPS or time.monotonic() - self._committed_at > _COMMIT_SECONDS:
                self._commit()
        except OSError as error:
            self._roll_back()
            raise _write_error(self._store.folder, error) from error

    def close(self) -> None:
        """Commit what is pending and close the files."""
        try:
            self._commit()
        except OSError:
            self._roll_back()
            raise
        finally:
            os.close(self._frames_file)
            os.close(self._index_file)

    def _commit(self) -> None:
        if not self._pending:
            return
        os.fsync(self._frames_file)
        write_all(self._index_file, b"".join(self._pending))
        os.fsync(self._index_file)
        self._records += len(self._pending)
        self._frames += self._pending_frames
        self._pending, self._pending_frames = [], 0
        self._committed_at = time.monotonic()

    def _roll_back(self) -> None:
        """Cut both files to the last commit."""
        self._pending, self._pending_frames = [], 0
        for file, size in (
            (self._index_file, self._records * _RECORD_BYTES),
            (self._frames_file, self._frames * self._frame_bytes),
        ):
            os.ftruncate(file, size)
            os.lseek(file, 0, os.SEEK_END)


def write_all(file: int, data: bytes) -> None:
    """Write all bytes to a file descriptor.

    Raises:
        OSError: the disk is full.
    """
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _good_records(path: Path, available_frames: int) -> Iterator[tuple[str, _Place]]:
    """Yield the records of an index up to the first that is cut off, damaged, or names frames that are not there."""
    content = path.read_bytes() if path.exists() else b""
    expected = 0
    for start in range(0, len(content) - _RECORD_BYTES + 1, _RECORD_BYTES):
        record = content[start : start + _RECORD.size]
        (record_checksum,) = _CHECKSUM.unpack_from(content, start + _RECORD.size)
        sha256, first, frames, checksum = _RECORD.unpack(record)
        if zlib.crc32(record) != record_checksum or first != expected or first + frames > available_frames:
            return
        expected = first + frames
        yield sha256.hex(), _Place(first, frames, checksum)


def _write_error(folder: Path, error: OSError) -> DataError:
    return DataError(
        f"features cannot be written to {folder} ({error.strerror or error}): free some space there or set "
        "FUSION_CACHE to another folder, then run again; what is encoded so far is kept"
    )
