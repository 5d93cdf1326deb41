"""Event graphs of composed scenes: what really sounds in a clip, when, and in which order."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fusion_eval.schemas.base import Identifier, Record, Schema

Phrase = Annotated[str, Field(min_length=1)]
Index = Annotated[int, Field(ge=0)]


class SceneEvent(Record):
    """One event of a scene; times in s from the start of the clip."""

    sound_class: str = Field(min_length=1)
    onset: float = Field(ge=0, description="Start in s.")
    offset: float = Field(ge=0, description="End in s.")
    count: int | None = Field(
        default=None, ge=1, description="How many single shots; None where counting is senseless."
    )
    role: Literal["background", "foreground"]

    @model_validator(mode="after")
    def _ends_after_its_start(self) -> Self:
        if self.offset <= self.onset:
            raise ValueError(f"offset {self.offset} s is not after onset {self.onset} s")
        return self


class SceneItem(Record):
    """The event graph of one clip; ``order`` holds (earlier, later) indices of events that follow one another."""

    id: Identifier
    events: tuple[SceneEvent, ...]
    order: tuple[tuple[Index, Index], ...] = ()
    combination: Literal["seen", "held_out"]

    @model_validator(mode="after")
    def _order_names_events(self) -> Self:
        for earlier, later in self.order:
            if max(earlier, later) >= len(self.events) or earlier == later:
                raise ValueError(f"order pair ({earlier}, {later}) does not name two of the {len(self.events)} events")
        return self


class SceneEvents(Schema):
    """The event graphs of one split and the lexicon of phrases that name exactly one class.

    Generic words, such as "an animal", are in no entry of the lexicon.
    """

    schema_: Literal["fusion.scene-events/1"] = Field(default="fusion.scene-events/1", alias="schema")
    dataset: str = Field(min_length=1)
    split: str = Field(min_length=1)
    lexicon: dict[str, tuple[Phrase, ...]]
    items: tuple[SceneItem, ...]

    @model_validator(mode="after")
    def _lexicon_covers_the_classes(self) -> Self:
        for item in self.items:
            for event in item.events:
                if not self.lexicon.get(event.sound_class):
                    raise ValueError(f"class '{event.sound_class}' of item '{item.id}' has no phrase in the lexicon")
        return self
