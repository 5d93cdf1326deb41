"""References: what people, or templates, wrote about each clip of a split."""

from __future__ import annotations

from typing import Literal

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
