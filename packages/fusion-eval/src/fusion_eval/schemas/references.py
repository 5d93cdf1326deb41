"""References: what people, or templates, wrote about each clip of a split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Self

from pydantic import Field

from fusion_eval.schemas.base import Identifier, Record, Schema


class ReferenceItem(Record):
    """The references of one clip."""

    id: Identifier
    references: tuple[str, ...] = Field(min_length=1)


class References(Schema):
    """The references of one split of a dataset, kept as ``references/<split>.json``."""

    schema_: Literal["fusion.references/1"] = Field(default="fusion.references/1", alias="schema")
    dataset: str = Field(min_length=1)
    split: str = Field(min_length=1)
    items: tuple[ReferenceItem, ...]

    @classmethod
    def from_captions(
        cls, captions: Mapping[str, Sequence[str]], dataset: str = "captions", split: str = "test"
    ) -> Self:
        """Return references given by clip id."""
        items = tuple(ReferenceItem(id=name, references=tuple(texts)) for name, texts in captions.items())
        return cls(dataset=dataset, split=split, items=items)
