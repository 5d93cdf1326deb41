"""A retention probe: questions with known answers, as JSON lines of the LLaVA question format, and the folder of their images.

    {"question_id": "…", "image": "x.png", "text": "…", "category": "count", "answer": "3", "options": ["1", "2", "3"]}

``image`` is absent or null in a question that has none; ``options``, where they are given, hold the answer. Images lie in the
folder ``images`` beside the file, or beside the file itself. A probe is known by its hash, which covers questions and images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from fusion_core.errors import DataError
from fusion_core.files import sha256_file, write_atomic
from fusion_encoders.base import canonical_json
from fusion_eval.schemas.base import first_problem
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fusion_train.datasets.base import CARD, IMAGES, DatasetCard

PROBE_FILE = "probe.jsonl"


class ProbeItem(BaseModel):
    """One question. ``options`` are the answers to choose from; empty where the answer is free."""

    model_config = ConfigDict(frozen=True, extra="ignore", coerce_numbers_to_str=True)

    question_id: str = Field(min_length=1)
    text: str = Field(min_length=1)
    answer: str = Field(min_length=1)
    image: str | None = None
    category: str = "question"
    options: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _options_hold_the_answer(self) -> Self:
        if self.options and self.answer not in self.options:
            raise ValueError(f"options {list(self.options)} do not hold the answer {self.answer!r}; add it")
        return self

    @property
    def cluster(self) -> str:
        """What questions share whose answers may not be independent: the image, or nothing but the question itself."""
        return self.image if self.image is not None else self.question_id

    @property
    def choices(self) -> tuple[str, ...]:
        """The answers whose likelihood is measured: the options, or the known answer alone."""
        return self.options or (self.answer,)


@dataclass(frozen=True)
class Probe:
    """Questions in a fixed order.

    Attributes:
        name: what tables call it.
        items: the questions, each id once.
        folder: where the images lie.
    """

    name: str
    items: tuple[ProbeItem, ...]
    folder: Path

    def image_path(self, item: ProbeItem) -> Path:
        """Return where a question's image lies.

        Raises:
            DataError: it has none, or the path leaves the probe's folder.
        """
        path = self.folder / (item.image or "")
        if item.image is None or not path.resolve().is_relative_to(self.folder.resolve()):
            raise DataError(f"Question {item.question_id}: image {item.image!r} is no file inside {self.folder}.")
        return path

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of the questions and of their images' bytes."""
        images = sorted({item.image for item in self.items if item.image is not None})
        hashes = {image: _image_sha256(self.folder / image) for image in images}
        content = {"items": [item.model_dump() for item in self.items], "images": hashes}
        return hashlib.sha256(canonical_json(content).encode()).hexdigest()

    def first(self, count: int | None) -> Probe:
        """Return the probe of the first questions; None for all."""
        return self if count is None else Probe(self.name, self.items[:count], self.folder)

    def with_images(self) -> Probe:
        """Return the probe of the questions that have an image."""
        return Probe(self.name, tuple(item for item in self.items if item.image is not None), self.folder)


def load_probe(path: Path) -> Probe:
    """Read a probe: a file of JSON lines, or a folder that holds ``probe.jsonl``.

    Raises:
        DataError: it is absent, empty or malformed, names a question twice, or an image lies outside its folder.
    """
    file = path / PROBE_FILE if path.is_dir() else path
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read as a probe ({error}); give a file of JSON lines.") from None
    items = [_parse(line, f"{file}, line {number}") for number, line in enumerate(lines, start=1) if line.strip()]
    folder = file.parent / IMAGES
    probe = Probe(file.parent.name or file.stem, tuple(items), folder if folder.is_dir() else file.parent)
    _check(probe, file)
    _require_locked(probe, file.parent / CARD)
    return probe


def _require_locked(probe: Probe, card: Path) -> None:
    """Raise DataError where a prepared probe is not the one that its card locked."""
    locked = DatasetCard.read(card).statistics.get("probe_sha256") if card.is_file() else None
    if locked is not None and locked != probe.sha256:
        raise DataError(
            f"{card.parent} was changed after its list was locked (hash {probe.sha256[:8]}…, locked {locked[:8]}…); prepare it "
            "again under another --root."
        )


def write_probe(path: Path, items: Sequence[ProbeItem]) -> None:
    """Write questions as JSON lines, atomically."""
    write_atomic(path, "".join(f"{item.model_dump_json()}\n" for item in items).encode())


def _parse(line: str, where: str) -> ProbeItem:
    try:
        return ProbeItem.model_validate_json(line)
    except ValidationError as error:
        raise DataError(f"{where}: {first_problem(error)}") from None


def _check(probe: Probe, file: Path) -> None:
    """Raise DataError for a probe that cannot be measured with."""
    if not probe.items:
        raise DataError(f"{file} holds no question; give a probe of one or more.")
    ids = [item.question_id for item in probe.items]
    if len(set(ids)) < len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise DataError(f"{file}: question_id {twice!r} stands there twice; give each question its own.")
    for item in probe.items:
        if item.image is not None and not probe.image_path(item).is_file():
            raise DataError(f"{file}: the image {item.image} of question {item.question_id} is not in {probe.folder}.")


def _image_sha256(path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); put the probe's image back.") from None
