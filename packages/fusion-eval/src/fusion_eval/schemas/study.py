"""The study card: every run of a study with its state, and the decisions that were taken from results.

It is derived: each run's folder keeps ``study_run.json``, and the card gathers them. So several sessions or machines can
work on one study, and the card can be made again from the folders.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

from fusion_eval.schemas.base import Record, Schema, Sha256

Status = Literal["done", "failed", "missing"]
RunName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._+-]*$", description="Name of a run and of its folder.")]


class Outcome(Record):
    """What became of a run or of one of its measures; what is not done has a reason."""

    status: Status
    reason: str | None = Field(default=None, description="Why it is not done: one sentence.")

    @model_validator(mode="after")
    def _what_is_not_done_has_a_reason(self) -> Self:
        if (self.status == "done") != (self.reason is None):
            raise ValueError("a reason is given exactly where the status is not done")
        return self


class Measure(Outcome):
    """What is measured on a finished run, such as retention or reranking; it has an identity of its own."""

    identity: Sha256 = Field(description="Hash of its settings and of the run's identity.")


class StudyRun(Outcome):
    """One run of a study."""

    name: RunName
    experiment: tuple[str, ...] = Field(description="The experiments that use it, such as A2 and B1.")
    phase: int = Field(ge=0, description="The first phase of the study that needs it.")
    stage: str = Field(min_length=1, description="xe, scst, video or sanity.")
    system: str = Field(min_length=1)
    dataset: str = Field(min_length=1)
    seed: int
    variant: str = Field(default="", description="How it differs from its system's default; empty for the default.")
    parent: RunName | None = Field(default=None, description="The run from whose weights it started.")
    identity: Sha256 = Field(description="Hash of the resolved configuration, the inputs and the parent's identity.")
    run_card_sha256: Sha256 | None = Field(default=None, description="Hash of run_card.json; absent until it is done.")
    log: str | None = Field(default=None, description="Where the log of a failed run lies.")
    measures: dict[str, Measure] = Field(default={}, description="By name: retention, rerank.")


class StudyRunFile(Schema):
    """Kept as ``study_run.json`` in a run's folder: what makes its results count for a study."""

    schema_: Literal["fusion.study-run/1"] = Field(default="fusion.study-run/1", alias="schema")
    run: StudyRun
    files: dict[str, Sha256] = Field(description="Hash of every file of the folder, by its path there.")


class Decision(Record):
    """A rule of the study that was applied to results."""

    rule: str = Field(min_length=1, description="Such as additive-behind-cross-attention.")
    triggered: bool
    numbers: dict[str, float] = Field(description="What it was decided by.")
    outcome: str = Field(min_length=1, description="What follows: one sentence.")
    runs: tuple[RunName, ...] = Field(default=(), description="The runs that it added, started or is about.")


class StudyCard(Schema):
    """One study, kept as ``study_card.json`` beside its runs."""

    schema_: Literal["fusion.study-card/1"] = Field(default="fusion.study-card/1", alias="schema")
    name: str = Field(min_length=1)
    tier: Literal["tiny", "embedded", "paper"]
    config_sha256: Sha256 = Field(description="Hash of the study's configuration.")
    seeds: tuple[int, ...]
    criteria: dict[str, JsonValue] = Field(default={}, description="Success criteria as the study states them.")
    runs: tuple[StudyRun, ...]
    decisions: tuple[Decision, ...] = ()

    @model_validator(mode="after")
    def _runs_are_consistent(self) -> Self:
        names = [run.name for run in self.runs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"run {twice[0]} is listed twice")
        strangers = sorted({run.parent for run in self.runs if run.parent} - set(names))
        if strangers:
            raise ValueError(f"parent {strangers[0]} is no run of the study")
        return self
