"""What every file of the project shares: validation, canonical bytes, a hash, an atomic write and a checked read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fusion_eval.errors import DataError
from fusion_eval.files import write_atomic

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 in lower-case hexadecimal.")]
Identifier = Annotated[str, Field(min_length=1, description="The clip's id, unique in its file.")]


class Record(BaseModel):
    """A part of a file: frozen, refuses unknown fields and numbers that are not finite."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )


class Schema(Record):
    """A whole file: a record with canonical bytes, a hash, an atomic write and a checked read.

    The canonical bytes are UTF-8 JSON with sorted keys, an indent of one space and a newline at the end; a field that
    is None is left out. A written file holds exactly these bytes, so ``sha256sum`` gives the same hash.
    """

    def canonical_bytes(self) -> bytes:
        """Return the one byte string that stands for this content.

        Raises:
            DataError: a free-form field holds a value that JSON cannot hold, such as NaN.
        """
        content = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        try:
            text = json.dumps(content, ensure_ascii=False, sort_keys=True, indent=1, allow_nan=False)
        except ValueError as error:
            raise DataError(f"{type(self).__name__}: {error}; leave out what was not measured.") from error
        return text.encode() + b"\n"

    def sha256(self) -> str:
        """Return the SHA-256 of the canonical bytes, in hexadecimal."""
        return hashlib.sha256(self.canonical_bytes()).hexdigest()

    def write(self, path: Path) -> None:
        """Write the canonical bytes atomically.

        Raises:
            OSError: the disk is full or the folder cannot be written; the old content stays.
        """
        write_atomic(path, self.canonical_bytes())

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read and check a file.

        Raises:
            DataError: the file is absent, unreadable or does not follow the schema; names the file and the field.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError as error:
            raise DataError(f"{path} does not exist; give the path of a {cls.__name__} file.") from error
        except OSError as error:
            raise DataError(
                f"{path} cannot be read ({error.strerror}); give a readable {cls.__name__} file."
            ) from error
        except ValidationError as error:
            raise DataError(f"{path}: {first_problem(error)}") from error


def first_problem(error: ValidationError) -> str:
    """Return one sentence on the first thing that a validation found wrong: the field, what is wrong, how many more."""
    details = error.errors(include_url=False)
    sentence = _describe(details[0])
    others = len(details) - 1
    return f"{sentence} ({others} more like this)." if others else f"{sentence}."


def _describe(detail: Mapping[str, Any]) -> str:
    """Return «field: what is wrong»; a file that is no JSON has no field."""
    field = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "json_invalid":
        return f"not a JSON file, {detail['msg'].removeprefix('Invalid JSON: ')}"
    if detail["type"] == "missing":
        return f"field {field} is missing; add it"
    if detail["type"] == "extra_forbidden":
        return f"field {field} is unknown; remove it"
    message = detail["msg"].removeprefix("Value error, ")
    return f"field {field}: {message}" if field else message
