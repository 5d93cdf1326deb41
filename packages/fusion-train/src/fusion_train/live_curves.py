"""What a run's curves look like so far, in the terminal: one line a curve, of Unicode blocks, under the progress bar."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from fusion_train.judging import LABELS

BLOCKS = "▁▂▃▄▅▆▇█"
GAP = " "
MOST_GATES = 3


def sparkline(values: Sequence[float], width: int) -> str:
    """Return values as at most ``width`` blocks, the lowest ▁ and the highest █.

    More values than blocks are averaged in neighbouring groups; what is no finite number is left out, and a group without a
    number is a gap. A curve that does not move is a line of ▄.
    """
    if width < 1 or not values:
        return ""
    cells = min(width, len(values))
    bounds = [round(cell * len(values) / cells) for cell in range(cells + 1)]
    means = [_mean(values[low:high]) for low, high in itertools.pairwise(bounds)]
    finite = [mean for mean in means if mean is not None]
    if not finite:
        return GAP * cells
    low, span = min(finite), max(finite) - min(finite)
    return "".join(GAP if mean is None else _block((mean - low) / span if span else 0.5) for mean in means)


def _mean(values: Sequence[float]) -> float | None:
    finite = [value for value in values if math.isfinite(value)]
    return math.fsum(finite) / len(finite) if finite else None


def _block(share: float) -> str:
    return BLOCKS[min(int(share * len(BLOCKS)), len(BLOCKS) - 1) if share != 0.5 else 3]


class LiveCurves:
    """The curves of a run, as it logs its events; a rich renderable.

    Args:
        width: blocks of a curve.
    """

    def __init__(self, width: int = 40) -> None:
        self.width = width
        self.curves: dict[str, dict[int, float]] = {}

    def add(self, event: str, fields: Mapping[str, Any]) -> None:
        """Take in an event of the log: ``step`` has loss, gates and reward, ``evaluated`` the score of val.

        A step that is done again replaces what it was.
        """
        named: dict[str, float] = {}
        if event == "step":
            named = {name: fields[name] for name in ("loss", "reward") if name in fields}
            gates = fields.get("gates", {})
            named |= {f"α{site}": gates[site] for site in list(gates)[:MOST_GATES]}
        elif event == "evaluated":
            named = {label: fields[metric] for metric, label in LABELS.items() if metric in fields}
        for name, value in named.items():
            self.curves.setdefault(name, {})[int(fields["step"])] = float(value)

    def __rich__(self) -> RenderableType:
        """Return a table: name, curve, newest value."""
        table = Table.grid(padding=(0, 1))
        for name, points in self.curves.items():
            values = [points[step] for step in sorted(points)]
            line = Text(sparkline(values, self.width), style="cyan", no_wrap=True)
            table.add_row(Text(name, style="dim"), line, f"{values[-1]:.3f}")
        return table


class TrainingProgress(Progress):
    """The progress bar of a training run with its curves below; on the error stream, silent when that is no terminal.

    A task shows its field ``status`` beside the counts.
    """

    def __init__(self, curves: LiveCurves) -> None:
        self.curves = curves
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
        )
        console = Console(stderr=True)
        super().__init__(*columns, TimeRemainingColumn(), console=console, disable=not sys.stderr.isatty())

    def get_renderables(self) -> Iterable[RenderableType]:
        """Yield the bar, then the curves."""
        yield from super().get_renderables()
        yield self.curves
