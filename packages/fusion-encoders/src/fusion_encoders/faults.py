"""Media files that cannot be used: why, in the words and by the status of the manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from fusion_core.errors import DataError

FaultStatus = Literal["missing", "corrupt", "too_short"]


class MediaFault(DataError):  # noqa: N818 (the fault is in the file)
    """A file that cannot be used, with the manifest's ``status`` for it and a ``reason`` in words."""

    def __init__(self, status: FaultStatus, reason: str) -> None:
        super().__init__(reason)
        self.status: FaultStatus = status
        self.reason = reason

    def __reduce__(self) -> tuple[type[Self], tuple[FaultStatus, str]]:
        return type(self), (self.status, self.reason)


def require_content(path: Path, fault: type[MediaFault]) -> None:
    """Raise a fault where there is no file with something in it."""
    if not path.exists():
        raise fault("missing", "the file does not exist")
    if not path.is_file():
        raise fault("corrupt", "the path is not a regular file")
    if path.stat().st_size == 0:
        raise fault("corrupt", "the file is empty (0 bytes)")
