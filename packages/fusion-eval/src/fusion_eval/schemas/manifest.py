"""The manifest of a prepared dataset: one row a clip, kept as Parquet."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal, get_args

from pydantic import Field, ValidationError, field_validator

from fusion_eval.errors import DataError
from fusion_eval.files import write_atomic
from fusion_eval.schemas.base import Identifier, Record, Sha256, first_problem

SCHEMA = "fusion.manifest/1"
Status = Literal["ok", "missing", "corrupt", "too_short"]


class ManifestRow(Record):
    """One clip: where its audio lies, what it is, and whether it can be used."""

    id: Identifier
    path: str = Field(min_length=1, description="Path of the audio file, relative to the dataset's root, with '/'.")
    split: str = Field(min_length=1)
    seconds: float | None = Field(default=None, ge=0, description="Length of the audio in s.")
    sample_rate: int | None = Field(default=None, gt=0, description="Sample rate of the file in Hz.")
    sha256: Sha256 | None = None
    status: Status
    reason: str | None = Field(default=None, description="Why the clip is not ok.")
    licence: str | None = None

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        """Refuse a path that could leave the dataset's root."""
        parts = PurePosixPath(path.replace("\\", "/")).parts
        absolute = PurePosixPath(path).is_absolute() or bool(PureWindowsPath(path).anchor)
        if absolute or ".." in parts or "\0" in path:
            raise ValueError(f"'{path}' leaves the dataset's root; use a path relative to the root without '..'")
        return path


def write_manifest(path: Path, rows: Sequence[ManifestRow]) -> None:
    """Write the rows as Parquet, atomically, in the order given.

    Raises:
        DataError: an id occurs twice.
        OSError: the disk is full or the folder cannot be written; the old content stays.
    """
    import polars

    repeated = _repeated(row.id for row in rows)
    if repeated:
        raise DataError(f"{path}: id '{repeated[0]}' occurs twice; give each clip its own id.")
    types: dict[str, Any] = dict.fromkeys(ManifestRow.model_fields, polars.String)
    types |= {"seconds": polars.Float64, "sample_rate": polars.Int64}
    frame = polars.DataFrame([row.model_dump() for row in rows], schema=types)
    buffer = io.BytesIO()
    frame.write_parquet(buffer, metadata={"schema": SCHEMA})
    write_atomic(path, buffer.getvalue())


def read_manifest(path: Path) -> list[ManifestRow]:
    """Read and check a manifest.

    Raises:
        DataError: the file is absent, no Parquet, of another schema, or a row is malformed; names the row and field.
    """
    import polars

    if not path.is_file():
        raise DataError(f"{path} does not exist; prepare the dataset first (fusion data prepare).")
    data = path.read_bytes()
    try:
        found = polars.read_parquet_metadata(io.BytesIO(data)).get("schema")
        records = polars.read_parquet(io.BytesIO(data)).to_dicts()
    except (polars.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path} is no readable Parquet file; prepare the dataset again.") from error
    if found != SCHEMA:
        raise DataError(f"{path}: schema is '{found}', not '{SCHEMA}'; prepare the dataset again.")
    rows = [_check_row(path, number, record) for number, record in enumerate(records)]
    repeated = _repeated(row.id for row in rows)
    if repeated:
        raise DataError(f"{path}: id '{repeated[0]}' occurs twice; prepare the dataset again.")
    return rows


def counts_by_status(rows: Iterable[ManifestRow]) -> dict[str, int]:
    """Return how many rows have each status; every status is named, also with 0."""
    counts = Counter(row.status for row in rows)
    return {status: counts[status] for status in get_args(Status)}


def _check_row(path: Path, number: int, record: dict[str, Any]) -> ManifestRow:
    try:
        return ManifestRow.model_validate(record)
    except ValidationError as error:
        raise DataError(f"{path}, row {number}: {first_problem(error)}") from error


def _repeated(ids: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(ids).items() if count > 1]
