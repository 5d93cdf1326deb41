"""Atomic writes, hashes of files and the place of the user's cache."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path


def cache_dir() -> Path:
    """Return the folder that keeps tools and their results: ``$FUSION_CACHE``, or the platform's folder for caches.

    It is the one that ``fusion_core.files.cache_dir`` names, so that all packages share it.
    """
    chosen = os.environ.get("FUSION_CACHE")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "fusion" / "fusion" / "Cache"
    standard = os.environ.get("XDG_CACHE_HOME", "")
    if Path(standard).is_absolute():
        return Path(standard) / "fusion"
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "fusion"


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees either the old content or the new, also after a kill or on a full disk.

    Raises:
        OSError: the disk is full or the folder cannot be written; the old content stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(_mode_of_new_file(path))
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _mode_of_new_file(path: Path) -> int:
    """Return the permissions of the file that is replaced, or those that the process gives to a new file."""
    if path.exists():
        return path.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
