"""Questions about clips with known answers, and what a system answered under several conditions."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fusion_eval.schemas.base import Identifier, Record, Schema, Sha256

Share = Annotated[float, Field(ge=0, le=1)]


class QuestionItem(Record):
    """One question about a clip; one of the options is right."""

    id: Identifier
    clip: str = Field(min_length=1, description="The clip's id.")
    kind: str = Field(min_length=1, description="What it needs, such as sight, sound or both.")
    category: str = Field(min_length=1, description="What it asks for, such as colour.")
    text: str = Field(min_length=1)
    answer: str = Field(min_length=1)
    options: tuple[str, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _options_hold_the_answer(self) -> Self:
        if self.answer not in self.options or len(set(self.options)) != len(self.options):
            raise ValueError(f"options {list(self.options)} must be different and hold the answer {self.answer!r}")
        return self


class Questions(Schema):
    """The questions of one split, kept as ``questions/<split>.json`` in a prepared dataset."""

    schema_: Literal["fusion.questions/1"] = Field(default="fusion.questions/1", alias="schema")
    dataset: str = Field(min_length=1)
    split: str = Field(min_length=1)
    items: tuple[QuestionItem, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _ids_differ(self) -> Self:
        repeated = [name for name, count in Counter(item.id for item in self.items).items() if count > 1]
        if repeated:
            raise ValueError(f"question id {repeated[0]!r} occurs twice")
        return self

    def commonest_answer(self) -> dict[str, float]:
        """Return by category the share of questions that the commonest answer gets right: what guessing reaches."""
        counts: dict[str, Counter[str]] = {}
        for item in self.items:
            counts.setdefault(item.category, Counter())[item.answer] += 1
        return {name: max(found.values()) / found.total() for name, found in sorted(counts.items())}


class Accuracy(Record):
    """How many of some questions were answered rightly; chance is the mean of one over the number of options."""

    n: int = Field(ge=1)
    correct: int = Field(ge=0)
    accuracy: Share
    accuracy_normalised: Share = Field(description="With the likelihood of each option divided by its length.")
    chance: Share


class ModalityCondition(Record):
    """What a system said under one condition: captions and questions."""

    bound: tuple[str, ...] = Field(description="The modalities that were bound; none for the bare backbone.")
    shuffled: tuple[str, ...] = Field(default=(), description="Those of them that were another clip's.")
    cider_d: float | None = Field(default=None, description="CIDEr-D of the captions, all references.")
    questions: Accuracy | None = None
    by_kind: dict[str, Accuracy] = Field(default={}, description="Sight, sound, both.")
    by_category: dict[str, Accuracy] = Field(default={})


class ModalityScores(Schema):
    """Captions and answers of one system on one split by what was bound, kept as ``modalities.json`` in the run directory."""

    schema_: Literal["fusion.modality-scores/1"] = Field(default="fusion.modality-scores/1", alias="schema")
    run_id: str = Field(min_length=1)
    dataset: str = Field(min_length=1)
    split: str = Field(min_length=1)
    clips: int = Field(ge=1)
    lacking: dict[str, int] = Field(default={}, description="By modality the clips of the split that have none.")
    references_sha256: Sha256
    questions_sha256: Sha256 | None = None
    scoring: str = Field(description="How an answer is chosen.")
    conditions: dict[str, ModalityCondition]
