"""The one model of a table; Markdown, LaTeX, CSV and JSON are renderings of it.

A cell holds a number with its spreads and the files that it comes from, or a text, or the reason why it is empty.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, Self

from fusion_eval.schemas.base import Record, Schema
from fusion_eval.schemas.comparison import Difference, SystemValue
from pydantic import Field, model_validator


class Cell(Record):
    """One cell of a table."""

    text: str | None = Field(default=None, description="Words, for a cell that is no number.")
    value: float | None = None
    digits: int = Field(default=3, ge=0, description="Decimal places that are shown.")
    grouped: bool = Field(default=False, description="Whether thousands are parted by commas.")
    signed: bool = Field(default=False, description="Whether a plus sign is shown.")
    stdev: float | None = Field(default=None, description="Over seeds, with n - 1.")
    low: float | None = Field(default=None, description="Lower end of the interval.")
    high: float | None = Field(default=None, description="Upper end of the interval.")
    p: float | None = Field(default=None, description="Two-sided, of no difference.")
    reason: str | None = Field(default=None, description="Why it is empty, or what a number lacks: one sentence.")
    sources: tuple[str, ...] = Field(default=(), description="The files of the results folder that it comes from.")

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        if self.text is not None and self.value is not None:
            raise ValueError("a cell holds a number or a text, not both")
        if self.is_empty and not self.reason:
            raise ValueError("an empty cell says why it is empty")
        return self

    @property
    def is_empty(self) -> bool:
        """Whether there is neither a number nor a text."""
        return self.text is None and self.value is None

    def number(self, value: float | None = None) -> str:
        """Return a number as this cell shows numbers; its own where none is given."""
        shown = self.value if value is None else value
        if shown is None:
            return ""
        sign = "+" if self.signed else "-"
        return f"{shown:{sign}{',' if self.grouped else ''}.{self.digits}f}"


class Column(Record):
    """A column; ``key`` names it in CSV and JSON."""

    key: str = Field(min_length=1)
    title: str
    numeric: bool = True


class Row(Record):
    """A row; a new ``section`` begins with it where it names one."""

    cells: tuple[Cell, ...]
    section: str | None = None


class Table(Schema):
    """A table with its caption."""

    schema_: Literal["fusion.table/1"] = Field(default="fusion.table/1", alias="schema")
    key: str = Field(pattern=r"^[a-z0-9-]+$", description="Names its files.")
    title: str
    caption: tuple[str, ...] = Field(description="Sentences: what was scored, how, on how much, and what is missing.")
    columns: tuple[Column, ...] = Field(min_length=1)
    rows: tuple[Row, ...]

    @model_validator(mode="after")
    def _rows_fit(self) -> Self:
        wrong = [place for place, row in enumerate(self.rows) if len(row.cells) != len(self.columns)]
        if wrong:
            raise ValueError(f"row {wrong[0]} does not have a cell a column")
        return self

    def notes(self) -> dict[str, str]:
        """Return a mark for each different reason, in the order in which the cells name them."""
        reasons = dict.fromkeys(cell.reason for row in self.rows for cell in row.cells if cell.reason)
        return {reason: _mark(place) for place, reason in enumerate(reasons) if reason}

    def sources(self) -> tuple[str, ...]:
        """Return the files that the numbers come from, each once."""
        return tuple(dict.fromkeys(source for row in self.rows for cell in row.cells for source in cell.sources))

    def column(self, key: str) -> list[Cell]:
        """Return the cells of a column."""
        place = [column.key for column in self.columns].index(key)
        return [row.cells[place] for row in self.rows]


def words(text: str) -> Cell:
    """Return a cell of words."""
    return Cell(text=text)


def empty(reason: str) -> Cell:
    """Return an empty cell that says why."""
    return Cell(reason=reason)


def number(
    value: float | None,
    sources: Iterable[str] = (),
    *,
    digits: int = 3,
    grouped: bool = False,
    signed: bool = False,
    stdev: float | None = None,
    reason: str | None = None,
) -> Cell:
    """Return a cell with a number; one that is absent or not finite makes it empty, for which there must be a reason."""
    if value is None or not math.isfinite(value):
        return Cell(reason=reason or "The file holds no number here.", sources=tuple(sources))
    return Cell(
        value=value,
        digits=digits,
        grouped=grouped,
        signed=signed,
        stdev=stdev,
        reason=reason,
        sources=tuple(sources),
    )


def measured(found: SystemValue, sources: Sequence[str], reason: str | None = None) -> Cell:
    """Return a cell with a value, its deviation over seeds and its interval over clips."""
    interval = (found.spread.bca or found.spread.percentile) if found.spread is not None else None
    return Cell(
        value=found.value,
        stdev=found.seeds.stdev,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        reason=reason,
        sources=tuple(sources),
    )


def difference(found: Difference, sources: Sequence[str], reason: str | None = None) -> Cell:
    """Return a cell with a paired difference, its interval over clips and its p."""
    interval = (found.spread.bca or found.spread.percentile) if found.spread is not None else None
    return Cell(
        value=found.value,
        signed=True,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        p=found.p,
        reason=reason,
        sources=tuple(sources),
    )


def _mark(place: int) -> str:
    """Return a, b, …, z, aa, ab, …"""
    mark = ""
    place += 1
    while place:
        place, rest = divmod(place - 1, 26)
        mark = chr(ord("a") + rest) + mark
    return mark
