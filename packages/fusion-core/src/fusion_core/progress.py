"""Progress bars of long work: on the error stream, silent when it is not a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

Item = TypeVar("Item")


def progress_bar(*extra: ProgressColumn) -> Progress:
    """Return a rich progress display with counts, ETA and any ``extra`` columns."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *extra, TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=False)


def track(items: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """Yield the items and show how many are done.

    ``total`` is taken from ``len(items)`` where it is not given and ``items`` has a length.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with progress_bar() as progress:
        yield from progress.track(items, total=total, description=description)
