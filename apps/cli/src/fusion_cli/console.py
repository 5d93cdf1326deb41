"""Where the commands print: results on the output stream, progress and notes on the error stream."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

stdout = Console(highlight=False)
stderr = Console(stderr=True, highlight=False)


def print_json(value: Any) -> None:
    """Print a value as JSON on the output stream, keys in their order, without colours or wrapping."""
    stdout.out(json.dumps(value, ensure_ascii=False, indent=2))


def notify(sentence: str) -> None:
    """Print a note on the error stream, as it is."""
    stderr.print(sentence, markup=False, soft_wrap=True)


@contextmanager
def metric_bars() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar a metric while captions are scored; yields what the metrics tell how far they are."""
    from fusion_core.progress import progress_bar
    from rich.progress import TaskID

    with progress_bar() as bar:
        tasks: dict[str, TaskID] = {}

        def tell(metric: str, done: int, total: int) -> None:
            if metric not in tasks:
                tasks[metric] = bar.add_task(metric, total=total)
            bar.update(tasks[metric], completed=done, total=total)

        yield tell
