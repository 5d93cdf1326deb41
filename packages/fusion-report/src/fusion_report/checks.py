"""One measured thing that a checklist asks: its value, the threshold, where it stands, and the verdict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from fusion_eval.schemas.base import Record
from pydantic import Field

from fusion_report.rendering import plain
from fusion_report.table import Cell

Verdict = Literal["pass", "fail", "not measured"]


class Check(Record):
    """One measured thing of a line."""

    what: str
    measured: str = Field(default="", description="The value as it is shown; empty where there is none.")
    threshold: str
    verdict: Verdict
    reason: str | None = Field(default=None, description="Why it was not measured.")
    sources: tuple[str, ...] = ()


def check(cell: Cell, what: str, threshold: str, passes: Callable[[Cell], bool]) -> Check:
    """Return a check of a cell; an empty one is not measured."""
    if cell.value is None:
        return Check(what=what, threshold=threshold, verdict="not measured", reason=cell.reason, sources=cell.sources)
    return Check(
        what=what,
        measured=plain(cell),
        threshold=threshold,
        verdict="pass" if passes(cell) else "fail",
        sources=cell.sources,
    )


def at_least(least: float) -> Callable[[Cell], bool]:
    """Return what asks that a value is no lower."""
    return lambda cell: cell.value is not None and cell.value >= least


def above_zero(cell: Cell) -> bool:
    """Say whether the whole interval lies above 0."""
    return cell.low is not None and cell.low > 0
