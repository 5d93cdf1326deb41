"""Comparison: two systems on the same clips, metric by metric, with intervals and p-values of their difference."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

from fusion_eval.schemas.base import Record, Schema, Sha256

Probability = Annotated[float, Field(gt=0, le=1)]


class Interval(Record):
    """The two ends of an interval."""

    low: float
    high: float

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low} lies above high {self.high}")
        return self


class Spread(Record):
    """How far a value would move with other clips of the same kind, by the bootstrap over clips."""

    standard_error: float = Field(ge=0)
    percentile: Interval
    bca: Interval | None = Field(default=None, description="Absent where it does not exist.")
    undefined: int = Field(default=0, ge=0, description="Resamples that have no value and are left out.")


class Histogram(Record):
    """How many bootstrap differences lie in each of equal parts of the range from ``low`` to ``high``."""

    low: float
    high: float
    counts: tuple[int, ...] = Field(min_length=1)


class SeedSpread(Record):
    """The values of several training seeds, one a predictions file; what the bootstrap over clips says nothing of."""

    values: tuple[float, ...] = Field(min_length=1)
    mean: float
    stdev: float | None = Field(default=None, ge=0, description="With n - 1; absent for one seed.")


class SystemValue(Record):
    """A metric of one system; over several seeds, of its clips' statistics averaged over the seeds."""

    value: float
    spread: Spread | None = None
    seeds: SeedSpread


class Difference(Record):
    """The value of a less that of b, both over the same clips and in the same resamples."""

    value: float
    spread: Spread | None = None
    p: Probability | None = Field(default=None, description="Two-sided, by the bootstrap moved to the null.")
    p_sign_flip: Probability | None = Field(default=None, description="Two-sided, by clips that change sides.")
    histogram: Histogram | None = None


class MetricComparison(Record):
    """One metric of both systems; where it has no spread, ``reason`` says why."""

    a: SystemValue
    b: SystemValue
    difference: Difference
    reason: str | None = None


class ComparedFile(Record):
    """One predictions file of a side."""

    system: str = Field(min_length=1)
    run_id: str | None = None
    predictions_sha256: Sha256
    missing: tuple[str, ...] = Field(default=(), description="Ids without a prediction, counted as an empty caption.")


class Comparison(Schema):
    """What ``fusion eval compare`` found. Differences are a less b; CIDEr-D is on coco-caption's scale."""

    schema_: Literal["fusion.comparison/1"] = Field(default="fusion.comparison/1", alias="schema")
    dataset: str = Field(min_length=1)
    split: str = Field(min_length=1)
    a: tuple[ComparedFile, ...] = Field(min_length=1, description="One file a seed.")
    b: tuple[ComparedFile, ...] = Field(min_length=1, description="One file a seed.")
    references_sha256: Sha256
    events_sha256: Sha256 | None = None
    clip_list: str | None = Field(
        default=None, description="The list of clips that alone count; absent where the whole split does."
    )
    n: int = Field(ge=2, description="Clips, which are what is resampled.")
    resamples: int = Field(ge=1)
    seed: int = Field(ge=0)
    confidence: float = Field(gt=0, lt=1)
    metrics: dict[str, MetricComparison]
    unavailable: dict[str, str] = Field(default={}, description="By metric: why it has no value.")
    oracle: tuple[str, ...] = Field(
        default=(), description="Names of values that chose among candidates by the references: no system's result."
    )
    method: dict[str, str] = Field(description="How the resamples, intervals and p-values are made.")
    definition: dict[str, dict[str, JsonValue]] = Field(description="By metric: the settings that define it.")
    tools: dict[str, str] = Field(description="Versions of what computed the values.")
