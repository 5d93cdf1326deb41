"""Weights of the reranker, and what they were chosen on."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from fusion_eval.schemas.base import Record, Schema, Sha256


class RerankWeights(Record):
    """The weights a, b, c and the exponent γ of a·logp/len^γ + b·similarity + c·consensus."""

    logprob: float = Field(default=1.0, ge=0, description="a: weight of the log-probability, in nats.")
    similarity: float = Field(default=0.0, ge=0, description="b: weight of the cosine of audio and text.")
    consensus: float = Field(default=0.0, ge=0, description="c: weight of the mean CIDEr-D against other candidates.")
    length_exponent: float = Field(default=1.0, ge=0, description="γ: exponent of the length, in words and the end.")


class TunedWeights(Schema):
    """Weights chosen on a validation split, kept as ``rerank_weights.json``."""

    schema_: Literal["fusion.rerank-weights/1"] = Field(default="fusion.rerank-weights/1", alias="schema")
    weights: RerankWeights
    dataset: str = Field(min_length=1)
    split: str = Field(min_length=1)
    predictions_sha256: Sha256
    references_sha256: Sha256
    n: int = Field(ge=1, description="Clips that were tuned on.")
    missing: tuple[str, ...] = Field(
        default=(), description="Ids without a prediction, left out: no weights change an empty caption."
    )
    metric: str = Field(min_length=1, description="The metric whose mean was maximised.")
    before: float = Field(description="The metric of the captions as they were.")
    after: float = Field(description="The metric of the captions that the weights choose, on the clips tuned on.")
    cross_validated: float = Field(
        description="The metric of captions chosen by weights that were tuned on the other folds: an honest estimate."
    )
    oracle: float = Field(description="The metric of each clip's best candidate: an upper bound, no result.")
    definition: dict[str, JsonValue] = Field(description="The document frequencies and the grid.")
