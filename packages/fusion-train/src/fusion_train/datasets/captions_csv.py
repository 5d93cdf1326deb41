"""Tables of captions as the field publishes them: CSV, or JSON lines, with one or several captions a row.

A row's captions stand in ``caption`` or ``text``, in ``caption_1``, ``caption_2``, …, or in a list ``captions``. White space is
normalised, so that a line break inside a caption cannot reach a tool that reads a caption a line.
"""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fusion_core.errors import DataError

NORMALISATION = "captions as written, in composed characters (NFC), white space and line breaks as single spaces"
"""What ``normalise_caption`` does, for the methods section."""

_NUMBERED = re.compile(r"caption_(\d+)")


@dataclass(frozen=True)
class Row:
    """One row: the line of the file that it ends in, and its fields by column."""

    line: int
    fields: Mapping[str, Any]

    def text(self, column: str) -> str:
        """Return a field without white space around it; empty where the row has none."""
        value = self.fields.get(column)
        return "" if value is None else str(value).strip()


@dataclass(frozen=True)
class Table:
    """The rows of a file; ``mended`` says in a sentence each what was wrong with it and could be put right."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    mended: tuple[str, ...] = ()

    @cached_property
    def caption_columns(self) -> tuple[str, ...]:
        """The columns that hold captions, in their order."""
        numbered = sorted((int(match[1]), name) for name in self.columns if (match := _NUMBERED.fullmatch(name)))
        plain = [name for name in ("caption", "text", "captions") if name in self.columns]
        return (*plain, *(name for _, name in numbered))

    def captions(self, row: Row) -> tuple[str, ...]:
        """Return the captions of a row, normalised; empty ones are left out."""
        values: list[Any] = []
        for name in self.caption_columns:
            value = row.fields.get(name)
            values += value if isinstance(value, list) else [value]
        texts = (normalise_caption(str(value)) for value in values if value is not None)
        return tuple(text for text in texts if text)

    def require(self, *columns: str) -> None:
        """Check that there are these columns.

        Raises:
            DataError: one is missing; names those that are there.
        """
        if not set(columns) <= set(self.columns):
            raise DataError(f"{self.path} needs the columns {' and '.join(columns)}; it has {list(self.columns)}.")


def normalise_caption(text: str) -> str:
    """Return a caption in one line: composed characters (NFC), single spaces, nothing around it; else as written.

    White space changes no token of the caption metrics, which lower-case and take punctuation out themselves.
    """
    composed = text if text.isascii() else unicodedata.normalize("NFC", text)
    return " ".join(composed.split())


def read_table(path: Path, mend_breaks: bool = False) -> Table:
    """Read a ``.jsonl`` file, or any other as CSV.

    Args:
        path: the file.
        mend_breaks: the first column is a number and the last a caption; a row that begins otherwise and is too short is
            the rest of the caption before it, whose line was broken without quotes (AudioCaps 2.0 has such).

    Raises:
        DataError: the file cannot be read or a row is malformed; names the file and the line.
    """
    return _read_json_lines(path) if path.suffix == ".jsonl" else _read_csv(path, mend_breaks)


def read_text(path: Path, fallback: str | None = None) -> str:
    """Return a text in UTF-8, with or without a byte-order mark, or else in the ``fallback`` encoding.

    Raises:
        DataError: the file cannot be read, or not in that encoding.
    """
    try:
        data = path.read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); give a readable file.") from error
    except UnicodeDecodeError as error:
        if fallback is not None:
            return data.decode(fallback)
        raise DataError(f"{path} cannot be read as a file in UTF-8 ({error}); save it as one.") from error


def parse_csv(path: Path, text: str, mend_breaks: bool = False) -> Table:
    """Return the table of a CSV text; see ``read_table``.

    Raises:
        DataError: the text is no CSV, or a row has more fields than there are columns.
    """
    reader = csv.reader(io.StringIO(text, newline=""))
    rows: list[Row] = []
    mended = []
    try:
        columns = tuple(name.strip() for name in next(reader, []))
        for fields in reader:
            if mend_breaks and rows and _continues(fields, columns):
                rows[-1] = _joined(rows[-1], reader.line_num, columns[-1], fields)
                mended.append(f"{path.name}, line {reader.line_num}: the rest of the caption above, joined to it")
            elif len(fields) > len(columns):
                raise DataError(
                    f"{path}, line {reader.line_num}: {len(fields)} fields for {len(columns)} columns; quote what "
                    "holds a comma."
                )
            elif fields:
                rows.append(Row(reader.line_num, dict(zip(columns, fields, strict=False))))
    except csv.Error as error:
        raise DataError(
            f"{path}, line {reader.line_num}: cannot be read as a CSV file ({error}); save it as one."
        ) from error
    return Table(path, columns, tuple(rows), tuple(mended))


def _read_csv(path: Path, mend_breaks: bool) -> Table:
    return parse_csv(path, read_text(path), mend_breaks)


def _read_json_lines(path: Path) -> Table:
    rows = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}, line {number}: not JSON ({error.msg}); write one object a line.") from error
        if not isinstance(fields, dict):
            raise DataError(f"{path}, line {number}: not a JSON object; write one object a line.")
        rows.append(Row(number, fields))
    columns = dict.fromkeys(name for row in rows for name in row.fields)
    return Table(path, tuple(columns), tuple(rows))


def _continues(fields: Sequence[str], columns: Sequence[str]) -> bool:
    """Say whether a row is the rest of a caption: too short (blank fields at its end do not count), no number first."""
    return 0 < len(_without_blank_end(fields)) < len(columns) and not fields[0].strip().isdigit()


def _joined(row: Row, line: int, column: str, fields: Sequence[str]) -> Row:
    text = f"{row.fields.get(column, '')} {','.join(_without_blank_end(fields))}"
    return Row(line, {**row.fields, column: text})


def _without_blank_end(fields: Sequence[str]) -> list[str]:
    kept = list(fields)
    while kept and not kept[-1].strip():
        kept.pop()
    return kept
