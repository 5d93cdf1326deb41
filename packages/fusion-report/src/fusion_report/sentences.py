"""Parts of sentences from the cells of a table."""

from __future__ import annotations

from collections.abc import Iterable

from fusion_report.prose import Number
from fusion_report.rendering import plain
from fusion_report.table import Cell, Row, Table


def shown(cell: Cell) -> Number | str:
    """Return a value as it is shown, with its files."""
    return Number(plain(cell), cell.sources) if cell.value is not None else "(no value)"


def verb(cell: Cell) -> str:
    """Return what the interval of a difference lets one say."""
    if cell.low is None or cell.high is None:
        return "differs by"
    if cell.low > 0:
        return "is ahead by"
    return "is behind by" if cell.high < 0 else "is level, by"


def cell_of(table: Table, row: Row, key: str) -> Cell:
    """Return the cell of a row in a column."""
    return row.cells[[column.key for column in table.columns].index(key)]


def titles_between(table: Table, after: str, before: str) -> list[tuple[str, str]]:
    """Return key and title of the columns between two."""
    keys = [column.key for column in table.columns]
    return [(column.key, column.title) for column in table.columns[keys.index(after) + 1 : keys.index(before)]]


def listed(items: Iterable[tuple[str, Number | str]]) -> list[str | Number]:
    """Return names with their values, commas between."""
    parts: list[str | Number] = []
    for before, value in items:
        parts += [", " if parts else "", before, value]
    return [part for part in parts if part != ""]
