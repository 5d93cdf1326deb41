"""Locks between processes: whoever comes second waits for what the first one makes, and is told so."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

_log = logging.getLogger(__name__)


@contextmanager
def waiting_lock(path: Path, activity: str) -> Iterator[None]:
    """Hold a lock; where another process holds it, say what that process does, and wait.

    The system lets go of the locks of a process that dies.

    Args:
        path: the lock's file.
        activity: what is done under it, as in «another process is …».

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _log.warning("another process is %s; waiting for it", activity)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
