"""Scores: corpus and per-clip values of every metric, with what they were computed from and by which definition."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, JsonValue

from fusion_eval.schemas.base import Identifier, Record, Schema, Sha256


class ClipScores(Record):
    """The values of one clip by metric; a metric that does not apply to the clip is absent."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float] = Field(init=False)

    id: Identifier

    @property
    def values(self) -> dict[str, float]:
        """The clip's values by metric."""
        return dict(self.__pydantic_extra__)


class Statistics(Record):
    """What a corpus value is computed from: columns that are summed over the clips, row by row as ``per_clip``."""

    columns: tuple[str, ...]
    per_clip: tuple[tuple[float, ...], ...]


class Scores(Schema):
    """What one predictions file scored against one references file, kept as ``scores.json``.

    CIDEr-D is on coco-caption's scale; vocabulary and caption length are counts; the rest lies in 0..1. ``n`` is the
    denominator: the number of clips of the references, among them those of ``missing``, which are scored as an empty caption.
    """

    schema_: Literal["fusion.scores/1"] = Field(default="fusion.scores/1", alias="schema")
    dataset: str = Field(min_length=1)
    split: str = Field(min_length=1)
    system: str = Field(min_length=1)
    predictions_sha256: Sha256
    references_sha256: Sha256
    events_sha256: Sha256 | None = None
    clip_list: str | None = Field(
        default=None, description="The list of clips that alone count; absent where the whole split does."
    )
    n: int = Field(ge=1)
    missing: tuple[str, ...] = Field(default=(), description="Ids without a prediction, counted as an empty caption.")
    metrics: dict[str, float]
    denominator: dict[str, Annotated[int, Field(ge=0)]] = Field(
        default={}, description="By metric: over how many clips, pairs or classes; the definition says which."
    )
    unavailable: dict[str, str] = Field(
        default={}, description="By metric: why it has no value, and the command that provides it."
    )
    oracle: tuple[str, ...] = Field(
        default=(), description="Names of values that chose among candidates by the references: no system's result."
    )
    per_clip: tuple[ClipScores, ...]
    statistics: dict[str, Statistics] = Field(
        default={}, description="By metric: the statistics of each clip that its corpus values are summed from."
    )
    definition: dict[str, dict[str, JsonValue]] = Field(description="By metric: the settings that define it.")
    tools: dict[str, str] = Field(description="Versions of what computed the values.")
