"""Read values that were computed elsewhere, such as a published system's fluency probabilities, as columns of a CSV."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fusion_eval.errors import ConfigError, DataError

ID_COLUMNS = ("id", "clip_id", "fname", "file_name", "filename", "audiocap_id", "image_id")


def read_columns(options: Iterable[str], ids: Sequence[str]) -> dict[str, list[float]]:
    """Return the columns that options of the form NAME=FILE:COLUMN name, in the order of the ids.

    Rows are joined by the file's id column; a file without one must have a row a clip, in the order of the references.

    Raises:
        ConfigError: an option has another form.
        DataError: a file or column is absent, a value is no number, or rows and clips do not fit together.
    """
    return dict(_read(option, ids) for option in options)


def _read(option: str, ids: Sequence[str]) -> tuple[str, list[float]]:
    name, _, place = option.partition("=")
    file, _, column = place.rpartition(":")
    if not (name and file and column):
        raise ConfigError(f"'{option}' names no column; write NAME=FILE:COLUMN, as in spice=scores.csv:spice.")
    path = Path(file)
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; give the CSV file with the column '{column}'.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no readable CSV file ({error}); give one in UTF-8.") from error
    if not rows or column not in rows[0]:
        seen = ", ".join(rows[0]) if rows else "none"
        raise DataError(f"{path} has no column '{column}' (its columns: {seen}); name one of these.")
    return name, [_number(path, column, row) for row in _in_order(path, rows, ids)]


def _in_order(path: Path, rows: list[dict[str, str]], ids: Sequence[str]) -> list[dict[str, str]]:
    """Return the rows in the order of the ids."""
    key = next((column for column in ID_COLUMNS if column in rows[0]), None)
    if key is None:
        if len(rows) != len(ids):
            raise DataError(f"{path} has {len(rows)} rows for {len(ids)} clips and no id column; add a column 'id'.")
        return rows
    by_id = {row[key]: row for row in rows}
    if len(by_id) != len(rows):
        raise DataError(f"{path}: column '{key}' names a clip twice; keep one row a clip.")
    missing = [name for name in ids if name not in by_id]
    if missing:
        raise DataError(f"{path}: {len(missing)} clips have no row, '{missing[0]}' first; give a row a clip.")
    return [by_id[name] for name in ids]


def _number(path: Path, column: str, row: Mapping[str, str]) -> float:
    try:
        value = float(row[column])
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{path}, column '{column}': '{row[column]}' is no finite number; correct it.")
    return value
