"""Retention: what a backbone answered before it learned to hear, and what it answers after, question by question."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fusion_eval.schemas.base import Record, Schema, Sha256

Share = Annotated[float, Field(ge=0, le=1)]
Scoring = Literal["exact", "contains", "likelihood", "likelihood_normalised"]
Condition = Literal["none", "silence", "distractor", "earlier_distractor", "blind"]
Verdict = Literal["identical", "kept", "undecided", "lost"]
SCORINGS: tuple[Scoring, ...] = ("exact", "contains", "likelihood", "likelihood_normalised")
CONDITIONS: tuple[Condition, ...] = ("none", "silence", "distractor", "earlier_distractor", "blind")


class Outcome(Record):
    """One answer to one question; the likelihood scorings are absent where the question has no options."""

    text: str = Field(description="What was said, decoded greedily.")
    exact: bool
    contains: bool
    likelihood: bool | None = None
    likelihood_normalised: bool | None = None
    answer_logprob: float = Field(description="Sum of the log-probabilities of the known answer's tokens.")


class Answers(Schema):
    """All answers of one model to one probe under one condition, in the order of the probe."""

    schema_: Literal["fusion.answers/1"] = Field(default="fusion.answers/1", alias="schema")
    logits_sha256: Sha256 = Field(description="Hash over the logits at every answer position of the probe, in fp32.")
    outcomes: dict[str, Outcome] = Field(description="By question.")


class Question(Record):
    """What the statistics need to know of a question."""

    category: str = Field(min_length=1)
    cluster: str = Field(min_length=1, description="The image, or the question itself where it has none.")
    answer: str = Field(min_length=1)


class Change(Record):
    """One scoring before and after, over the same questions. Shares are 0 to 1; Δ is after less before."""

    n: int = Field(ge=1)
    clusters: int = Field(ge=1)
    before: Share
    after: Share
    delta: float = Field(ge=-1, le=1)
    gained: int = Field(ge=0, description="Questions that became right.")
    lost: int = Field(ge=0, description="Questions that were right.")
    mcnemar_p: Share = Field(description="Exact, two-sided.")
    bound: float = Field(ge=-1, le=1, description="Lower end of the one-sided 95 % interval of Δ.")
    standard_error: float = Field(ge=0, description="Of Δ, with clusters.")
    design_effect: float = Field(ge=1)


class LogprobShift(Record):
    """How much likelier (in nats) the known answers became, over all questions: it moves before any answer flips."""

    mean: float
    standard_error: float = Field(ge=0)


class ConditionRetention(Record):
    """One condition against the backbone as it was."""

    identical: bool = Field(description="Whether every logit at an answer position is the same to the bit.")
    logits_sha256_before: Sha256
    logits_sha256_after: Sha256
    verdict: Verdict
    scorings: dict[Scoring, Change]
    by_category: dict[str, Change] = Field(description="The scoring of the verdict, by kind of question.")
    answer_logprob: LogprobShift
    listed: Literal["all", "flipped"] = Field(
        default="all",
        description="Which questions are listed below: all that were asked, or those that flipped by the scoring of the verdict.",
    )
    questions: dict[str, Question]
    before: dict[str, Outcome]
    after: dict[str, Outcome]

    @model_validator(mode="after")
    def _items_agree(self) -> Self:
        if not set(self.questions) == set(self.before) == set(self.after):
            raise ValueError("questions, before and after must name the same items")
        return self


class RetentionBackbone(Record):
    """The frozen model that was asked."""

    name: str = Field(min_length=1)
    weights_sha256: Sha256
    precision: str = Field(min_length=1)


class Retention(Schema):
    """What ``fusion eval retention`` found, kept as ``retention.json`` in the run directory."""

    schema_: Literal["fusion.retention/1"] = Field(default="fusion.retention/1", alias="schema")
    run_id: str = Field(min_length=1)
    system: str = Field(min_length=1)
    adapter_sha256: Sha256
    backbone: RetentionBackbone
    probe: str = Field(min_length=1)
    probe_sha256: Sha256
    scoring: Scoring = Field(description="The scoring that the verdicts are about.")
    margin: float = Field(description="The largest loss that still counts as none, as a share.")
    conditions: dict[Condition, ConditionRetention]
    distractors: str | None = Field(
        default=None, description="Which clips were bound under distractor and earlier_distractor."
    )
    method: dict[str, str] = Field(description="How answers, bounds and verdicts are made.")
