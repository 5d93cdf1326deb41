"""Predictions: the caption that a system chose for each clip, and the candidates that it chose from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field

from fusion_eval.schemas.base import Identifier, Record, Schema, Sha256


class Candidate(Record):
    """One caption that was considered."""

    text: str
    logprob: float | None = Field(default=None, description="Sum of the tokens' log-probabilities, in nats.")
    similarity: float | None = Field(default=None, description="Cosine of the audio and the text embedding.")


class PredictionItem(Record):
    """The caption of one clip."""

    id: Identifier
    caption: str
    candidates: tuple[Candidate, ...] | None = None


class Predictions(Schema):
    """The captions of one split by one system, kept as ``predictions.json``."""

    schema_: Literal["fusion.predictions/1"] = Field(default="fusion.predictions/1", alias="schema")
    dataset: str = Field(min_length=1)
    split: str = Field(min_length=1)
    system: str = Field(min_length=1)
    run_id: str | None = None
    references_sha256: Sha256 | None = Field(default=None, description="Hash of the references these are meant for.")
    items: tuple[PredictionItem, ...]

    @classmethod
    def from_captions(
        cls, captions: Mapping[str, str], system: str, dataset: str = "captions", split: str = "test"
    ) -> Self:
        """Return a system's captions given by clip id."""
        items = tuple(PredictionItem(id=name, caption=text) for name, text in captions.items())
        return cls(dataset=dataset, split=split, system=system, items=items)
