"""Captions and references in the CSV layouts of the field, recognised by their columns.

AudioCaps      youtube_id, start_time, caption; several rows of a clip are its references
aac-metrics    caption_predicted, and if there are any mult_captions_predicted_1, …, caption_1, …
Clotho         an id column such as file_name, and caption_1, … or one caption; also what many people write
"""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fusion_eval.columns import ID_COLUMNS
from fusion_eval.errors import DataError

_SHOWN = 12  # columns that a message names
_LONGEST_FIELD = 1 << 30
_REFERENCE = re.compile(r"caption_\d+")
_CANDIDATE = re.compile(r"mult_captions_predicted_\d+")
WANTED_PREDICTIONS = f"caption_predicted, or one of {', '.join(ID_COLUMNS)} or youtube_id with caption"
WANTED_REFERENCES = f"one of {', '.join(ID_COLUMNS)} or youtube_id with caption, or with caption_1, caption_2, …"


@dataclass(frozen=True)
class CaptionRow:
    """What one row says of a clip; ``caption`` is None where the layout holds no predictions."""

    id: str
    caption: str | None
    candidates: tuple[str, ...]
    references: tuple[str, ...]


@dataclass(frozen=True)
class CaptionTable:
    """The rows of a CSV file, the name of its layout, and the dataset if the layout tells it.

    ``numbered`` says that there is no id column, so that the clips' ids are the numbers of their rows.
    """

    layout: str
    dataset: str | None
    numbered: bool
    rows: list[CaptionRow]


def read_caption_table(path: Path, text: str) -> CaptionTable | None:
    """Return the rows of a CSV text, or None if its columns are of no known layout.

    Raises:
        DataError: the text is no CSV, or a row has not as many fields as there are columns.
    """
    columns, rows = _read_rows(path, text)
    references = _numbered_columns(_REFERENCE, columns) or (["caption"] if "caption" in columns else [])
    key = next((name for name in ID_COLUMNS if name in columns), None)
    if "caption_predicted" in columns:
        layout, dataset, chosen = "aac-metrics CSV", None, "caption_predicted"
    elif "youtube_id" in columns and "caption" in columns:
        layout, dataset, chosen, references = "AudioCaps CSV", "audiocaps", "caption", ["caption"]
    elif key is not None and references:
        layout, dataset, chosen = "Clotho CSV", None, references[0] if len(references) == 1 else ""
    else:
        return None
    candidates = _numbered_columns(_CANDIDATE, columns)
    ids = _audiocaps_ids(rows) if dataset else [row[key] if key else str(n) for n, row in enumerate(rows, start=1)]
    return CaptionTable(
        layout,
        dataset,
        numbered=key is None and dataset is None,
        rows=[
            CaptionRow(
                name,
                row[chosen] if chosen else None,
                tuple(row[column] for column in candidates if row[column].strip()),
                tuple(row[column] for column in references if row[column].strip()),
            )
            for name, row in zip(ids, rows, strict=True)
        ],
    )


def seen_columns(path: Path, text: str) -> str:
    """Return the names of the columns of a CSV text, of many the first few."""
    columns, _ = _read_rows(path, text)
    return ", ".join(columns[:_SHOWN]) + (", …" if len(columns) > _SHOWN else "")


def _read_rows(path: Path, text: str) -> tuple[list[str], list[dict[str, str]]]:
    with _long_fields():
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        try:
            columns = [name.strip() for name in next(reader, [])]
            rows = []
            for fields in reader:
                if len(fields) not in (0, len(columns)):
                    raise DataError(
                        f"{path}, line {reader.line_num}: {len(fields)} fields for {len(columns)} columns; quote"
                        " captions that hold a comma, and separate the columns by commas."
                    )
                if fields:
                    rows.append(dict(zip(columns, fields, strict=True)))
        except csv.Error as error:
            raise DataError(f"{path}, line {reader.line_num}: no CSV ({error}); write the file again.") from error
    repeated = next((name for name in columns if columns.count(name) > 1), None)
    if repeated is not None:
        raise DataError(f"{path}: column '{repeated}' is there more than once; keep one.")
    return columns, rows


@contextmanager
def _long_fields() -> Iterator[None]:
    """Let a field of a CSV file be as long as it is; the limit belongs to the whole process."""
    before = csv.field_size_limit(_LONGEST_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _numbered_columns(pattern: re.Pattern[str], columns: Sequence[str]) -> list[str]:
    """Return the columns of a numbered series, in the order of their numbers."""
    found = [name for name in columns if pattern.fullmatch(name)]
    return sorted(found, key=lambda name: int(name.rpartition("_")[2]))


def _audiocaps_ids(rows: Sequence[dict[str, str]]) -> list[str]:
    """Return the video's id, and where clips start at several places of one video the second of the start too."""
    starts: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        starts[row["youtube_id"]].add(row.get("start_time", ""))
    return [
        row["youtube_id"] if len(starts[row["youtube_id"]]) == 1 else f"{row['youtube_id']}_{row['start_time']}"
        for row in rows
    ]
