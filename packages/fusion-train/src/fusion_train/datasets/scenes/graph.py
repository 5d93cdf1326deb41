"""The plan of a scene: which sounds, when, how loud and from what source. All that annotators and the composer need."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import Any, Literal

from fusion_eval.schemas import SceneEvent, SceneItem
from fusion_train.datasets.scenes.options import Split

Role = Literal["background", "foreground"]
Combination = Literal["seen", "held_out"]
ClassPair = tuple[str, str]


@dataclass(frozen=True)
class Source:
    """Where a sound comes from.

    ``seconds``: the length of one shot, or the longest that a sustained sound can last (None: as long as one likes).
    ``character``: where the sound lies among those of its class, from 0 to 1; it suggests which words people use.
    ``countable``: whether it is one single shot that can be repeated.
    ``details``: its parameters, or the recording and the place in it.
    """

    sound_class: str
    seconds: float | None
    character: float
    countable: bool
    details: Mapping[str, Any]


@dataclass(frozen=True)
class PlannedEvent:
    """One event of a scene.

    Times in s; ``level`` in dB above the background; ``interval`` is the time from one shot to the next, in s.
    """

    source: Source
    role: Role
    onset: float
    offset: float
    level: float
    count: int | None = None
    interval: float = 0.0

    @property
    def sound_class(self) -> str:
        """The name of the class."""
        return self.source.sound_class

    @property
    def seconds(self) -> float:
        """How long it lasts, in s."""
        return self.offset - self.onset


@dataclass(frozen=True)
class Scene:
    """A planned clip: the background first, where there is one, then the other events by onset."""

    id: str
    split: Split
    index: int
    seconds: float
    events: tuple[PlannedEvent, ...]
    combination: Combination

    @property
    def background(self) -> PlannedEvent | None:
        """The event that lasts through the scene, if there is one."""
        return self.events[0] if self.events[0].role == "background" else None

    @property
    def foreground(self) -> tuple[PlannedEvent, ...]:
        """The other events, in the order of their onsets."""
        return tuple(event for event in self.events if event.role == "foreground")

    @property
    def salient(self) -> PlannedEvent:
        """The foreground event that stands out most."""
        return max(self.foreground, key=lambda event: event.level)

    @property
    def order(self) -> tuple[tuple[int, int], ...]:
        """The pairs (earlier, later) of foreground events of which the second starts after the first has ended."""
        pairs = permutations(range(len(self.events)), 2)
        return tuple(
            (earlier, later)
            for earlier, later in pairs
            if self.events[earlier].role == self.events[later].role == "foreground"
            and self.events[earlier].offset <= self.events[later].onset
        )

    @property
    def class_pairs(self) -> frozenset[ClassPair]:
        """The ordered pairs of classes that really follow one another."""
        return frozenset((self.events[a].sound_class, self.events[b].sound_class) for a, b in self.order)

    def graph(self) -> str:
        """Return the event graph as text: classes, counts and order, but no times."""
        events = [(event.role, event.sound_class, event.count) for event in self.events]
        return json.dumps([events, self.order])

    def item(self) -> SceneItem:
        """Return the event graph as the file keeps it."""
        events = tuple(
            SceneEvent(
                sound_class=event.sound_class,
                onset=event.onset,
                offset=event.offset,
                count=event.count,
                role=event.role,
            )
            for event in self.events
        )
        return SceneItem(id=self.id, events=events, order=self.order, combination=self.combination)


def class_sequence(background: str | None, foreground: tuple[str, ...]) -> str:
    """Return the coarse graph that decides the split: the background and the sequence of classes, without counts."""
    return json.dumps([background, *foreground])
