"""Plan every scene of a dataset before any is rendered: classes, sources, times and levels.

Planning is cheap and runs in one process; rendering, which is not, needs nothing but its own scene. Each clip draws from
its own stream, ``default_rng([seed, split, index, purpose])``, so that the number of workers changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from fusion_core.errors import DataError
from fusion_train.datasets.scenes.annotate import MAXIMUM_WORDS, words_needed
from fusion_train.datasets.scenes.bank import Bank
from fusion_train.datasets.scenes.graph import ClassPair, Combination, PlannedEvent, Scene, Source, class_sequence
from fusion_train.datasets.scenes.options import SPLITS, ScenesOptions, Split
from fusion_train.datasets.scenes.splits import held_out_pairs, owner
from fusion_train.datasets.scenes.vocabulary import sound

EVENT_NUMBERS = (0.2, 0.45, 0.35)
"""How often a scene of train or val has one, two and three foreground events; test scenes have two or three."""

BACKGROUND_SHARE = 0.7
OVERLAP_SHARE = 0.3
COUNT_WEIGHTS = (0.25, 0.3, 0.25, 0.2)
"""How often a single shot sounds once, twice, three and four times, where there is room."""

LEVELS = (5.0, 20.0)
"""Signal-to-noise ratios (dB) of foreground events over the background, uniform."""

FEWEST_CLASSES = 4
"""A bank needs this many foreground classes, so that pairs can be held out and still be learnt from."""

_LEAD = (0.15, 0.6)
_GAP = (0.15, 0.5)
_PAUSE = (0.12, 0.4)
_SUSTAINED = (1.2, 4.0)
_TAIL = 0.2
_ATTEMPTS = 4_000


@dataclass(frozen=True)
class Layout:
    """The form of a scene before its classes are known.

    ``events``: how many foreground events. ``overlap``: the one that begins before the event ahead of it has ended.
    """

    events: int
    background: bool
    overlap: int | None

    def shrunk(self, events: int) -> Layout:
        """Return the layout with fewer events, one after the other."""
        return self if events == self.events else Layout(events, self.background, None)

    def following(self, names: Sequence[str]) -> set[ClassPair]:
        """Return the ordered pairs of classes of which the second starts after the first has ended."""
        pairs = combinations(range(self.events), 2)
        return {(names[a], names[b]) for a, b in pairs if (a, b) != ((self.overlap or 0) - 1, self.overlap)}


class Planner:
    """Plans the scenes of one dataset.

    Raises:
        DataError: the bank has too few classes.
    """

    def __init__(self, options: ScenesOptions, bank: Bank) -> None:
        self.options = options
        self.bank = bank
        usable = set(bank.classes("train")) & set(bank.classes("test"))
        self.foreground = {split: self._of_kind(split, usable, background=False) for split in SPLITS}
        self.backgrounds = {split: self._of_kind(split, usable, background=True) for split in SPLITS}
        fewest = min(len(names) for names in self.foreground.values())
        if fewest < FEWEST_CLASSES:
            raise DataError(
                f"The bank has {fewest} foreground classes with recordings in every split; {FEWEST_CLASSES} are needed."
            )
        self.held_out = held_out_pairs(self.foreground["train"], options.seed)
        self.seen: frozenset[ClassPair] = frozenset()

    def plan(self) -> dict[Split, list[Scene]]:
        """Return the scenes of all splits; train comes first, because it decides what counts as seen.

        Raises:
            DataError: no scene is left that a split may have, because train is too small or the labels are too long.
        """
        plans: dict[Split, list[Scene]] = {}
        for split in SPLITS:
            plans[split] = [self._scene(split, index) for index in range(self.options.count(split))]
            if split == "train":
                self.seen = frozenset(pair for scene in plans[split] for pair in scene.class_pairs)
        return plans

    def _of_kind(self, split: Split, usable: set[str], background: bool) -> list[str]:
        names = [name for name in self.bank.classes(split) if name in usable]
        return sorted(name for name in names if (sound(name).kind == "background") == background)

    def _scene(self, split: Split, index: int) -> Scene:
        """Return a scene; test clips come in pairs of one layout, seen and held out, so that nothing else tells them apart."""
        code = SPLITS.index(split)
        combination: Combination = "held_out" if split == "test" and index % 2 else "seen"
        pair = index // 2 if split == "test" else index
        layout = self._layout(split, np.random.default_rng([self.options.seed, code, pair, 0]))
        generator = np.random.default_rng([self.options.seed, code, index, 1])
        for events in range(layout.events, 1 if combination == "held_out" else 0, -1):
            layout = layout.shrunk(events)
            for _ in range(_ATTEMPTS):
                background, names = self._classes(split, layout, generator)
                if self._allowed(split, combination, layout, background, names):
                    return self._compose(split, index, combination, layout, background, names, generator)
        raise DataError(
            f"No {combination.replace('_', '-')} scene is left for {split}; raise train or add classes to the bank."
        )

    def _layout(self, split: Split, generator: np.random.Generator) -> Layout:
        weights = np.array(EVENT_NUMBERS)
        if split == "test":
            weights[0] = 0  # one event makes no ordered pair, held out or not
        events = 1 + int(generator.choice(3, p=weights / weights.sum()))
        background = bool(generator.random() < BACKGROUND_SHARE) and bool(self.backgrounds[split])
        overlaps = events > (2 if split == "test" else 1) and generator.random() < OVERLAP_SHARE
        overlap = int(generator.integers(1, events)) if overlaps else None
        return Layout(events, background, overlap)

    def _classes(self, split: Split, layout: Layout, generator: np.random.Generator) -> tuple[str | None, list[str]]:
        backgrounds, foreground = self.backgrounds[split], self.foreground[split]
        background = backgrounds[generator.integers(len(backgrounds))] if layout.background else None
        chosen = generator.permutation(len(foreground))[: layout.events]
        return background, [foreground[place] for place in chosen]

    def _allowed(
        self, split: Split, combination: Combination, layout: Layout, background: str | None, names: list[str]
    ) -> bool:
        """Say whether a split may have these classes in this order."""
        following = layout.following(names)
        any_order = set(combinations(names, 2))
        if combination == "held_out":
            fits = bool(following & self.held_out) and following <= self.held_out | self.seen
        else:
            fits = not any_order & self.held_out and (split == "train" or following <= self.seen)
        return (
            fits
            and owner(class_sequence(background, tuple(names)), self.options.seed) == split
            and words_needed(names, background) <= MAXIMUM_WORDS
        )

    def _compose(
        self,
        split: Split,
        index: int,
        combination: Combination,
        layout: Layout,
        background: str | None,
        names: list[str],
        generator: np.random.Generator,
    ) -> Scene:
        seconds = round(generator.uniform(self.options.minimum_seconds, self.options.maximum_seconds), 2)
        sources = [self.bank.draw(name, "foreground", split, generator) for name in names]
        events = place(sources, layout, seconds, generator)
        if background is not None:
            source = self.bank.draw(background, "background", split, generator)
            events = [PlannedEvent(source, "background", 0.0, seconds, 0.0), *events]
        return Scene(f"{split}-{index:05d}", split, index, seconds, tuple(events), combination)


def place(
    sources: Sequence[Source], layout: Layout, seconds: float, generator: np.random.Generator
) -> list[PlannedEvent]:
    """Return the foreground events of a clip in the order given, their times in whole milliseconds."""
    gaps = generator.uniform(*_GAP, size=len(sources))
    gaps[0] = generator.uniform(*_LEAD)
    budget = (seconds - _TAIL - gaps.sum()) / len(sources)
    events: list[PlannedEvent] = []
    for number, source in enumerate(sources):
        long = layout.overlap is not None and number == layout.overlap - 1
        length, count, interval = _length(source, budget, long, generator)
        if number == layout.overlap:
            onset = events[-1].onset + generator.uniform(0.3, 0.6) * events[-1].seconds
        else:
            onset = max((event.offset for event in events), default=0.0) + gaps[number]
        onset = round(onset, 3)
        level = round(generator.uniform(*LEVELS), 1)
        events.append(PlannedEvent(source, "foreground", onset, round(onset + length, 3), level, count, interval))
    slack = seconds - _TAIL - max(event.offset for event in events)
    return _shifted(events, round(generator.uniform(0, max(slack, 0.0)), 3))


def _length(
    source: Source, budget: float, long: bool, generator: np.random.Generator
) -> tuple[float, int | None, float]:
    """Return how long an event lasts (s), how many shots it has, and the time (s) from one shot to the next."""
    if source.countable and source.seconds is not None:
        interval = source.seconds + generator.uniform(*_PAUSE)
        most = int(np.clip(1 + (budget - source.seconds) // interval, 1, len(COUNT_WEIGHTS)))
        weights = np.array(COUNT_WEIGHTS[:most])
        if long and most > 2:
            weights[:2] = 0  # so that there is something for the next event to overlap
        count = 1 + int(generator.choice(most, p=weights / weights.sum()))
        return min((count - 1) * interval + source.seconds, budget), count, interval
    longest = min(source.seconds or np.inf, _SUSTAINED[1], budget)
    if sound(source.sound_class).kind == "shot":
        return longest, None, 0.0
    return float(generator.uniform(min(_SUSTAINED[0], longest), longest)), None, 0.0


def _shifted(events: Sequence[PlannedEvent], seconds: float) -> list[PlannedEvent]:
    return [
        PlannedEvent(
            event.source,
            event.role,
            round(event.onset + seconds, 3),
            round(event.offset + seconds, 3),
            event.level,
            event.count,
            event.interval,
        )
        for event in events
    ]
