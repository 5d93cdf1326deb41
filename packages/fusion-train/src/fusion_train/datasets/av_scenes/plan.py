"""Which clips there are: balanced in every attribute, and no combination in two splits.

For each clip some combinations are drawn that the split may have; the one is taken whose values have been used least so far. So
each answer of a question is right equally often, whatever its other attributes are.
"""

from __future__ import annotations

from collections import Counter
from typing import TypeVar

import numpy as np
from fusion_train.datasets.av_scenes.graph import (
    ACTIONS,
    COLOURS,
    HELD_OUT,
    OTHERS,
    PITCHES,
    SHAPES,
    SIDES,
    AvScene,
    Combination,
    Other,
)
from fusion_train.datasets.av_scenes.options import AvScenesOptions
from fusion_train.datasets.scenes.options import SPLITS, Split
from fusion_train.datasets.scenes.splits import owner

DUBBED_EVERY = 4
"""One clip of so many has the sound of another action; as many of the rest are asked the same question."""
SILENT_OUTSIDE_EVERY = 5
"""One clip of so many has no sound from outside the picture."""
_CANDIDATES = 24
Value = TypeVar("Value")


def plan(options: AvScenesOptions) -> dict[Split, list[AvScene]]:
    """Return the clips of each split."""
    return {split: _split(split, options) for split in SPLITS}


def _split(split: Split, options: AvScenesOptions) -> list[AvScene]:
    used: Counter[tuple[str, object]] = Counter()
    scenes = []
    for index in range(options.count(split)):
        seed = (options.seed, SPLITS.index(split), index)
        generator = np.random.default_rng([*seed, 1])
        wanted: Combination = "held_out" if wants_held_out(split, index) else "seen"
        allowed: list[AvScene] = []
        while len(allowed) < _CANDIDATES:
            scene = _draw(split, index, seed, generator)
            if scene.combination == wanted and owner(scene.graph(), 0) == split:
                allowed.append(scene)
        chosen = min(allowed, key=lambda scene: sum(used[key] for key in _values(scene)))
        used.update(_values(chosen))
        scenes.append(chosen)
    return scenes


def wants_held_out(split: Split, index: int) -> bool:
    """Say whether a clip is one of a shape in a colour that training never shows: every other one of test."""
    return split == "test" and index % 2 == 1


def _draw(split: Split, index: int, seed: tuple[int, ...], generator: np.random.Generator) -> AvScene:
    """Draw a clip; whether it is dubbed follows from its place, so that a fixed share is."""
    action = _choose(generator, ACTIONS)
    place = index % DUBBED_EVERY
    sound = _choose(generator, [other for other in ACTIONS if other != action]) if place == 0 else action
    shape, colour = _choose(generator, SHAPES), _choose(generator, COLOURS)
    if wants_held_out(split, index):
        shape, colour = _choose(generator, sorted(HELD_OUT))
    other: Other | None = None if index % SILENT_OUTSIDE_EVERY == 0 else _choose(generator, OTHERS)
    return AvScene(
        id=f"{split}-{index:05d}",
        split=split,
        action=action,
        sound=sound,
        colour=colour,
        shape=shape,
        side=_choose(generator, SIDES),
        pitch=_choose(generator, PITCHES),
        other=other,
        asks_match=place in (0, 2),
        seed=seed,
    )


def _values(scene: AvScene) -> list[tuple[str, object]]:
    """Return what is to be balanced: each attribute, and sight and sound of dubbed clips on their own."""
    names = ("action", "colour", "shape", "side", "pitch", "other")
    own = [(f"{name} dubbed" if scene.dubbed else name, getattr(scene, name)) for name in ("action", "sound")]
    return [(name, getattr(scene, name)) for name in names] + [*own, ("colour and shape", (scene.colour, scene.shape))]


def _choose(generator: np.random.Generator, values: tuple[Value, ...] | list[Value]) -> Value:
    return values[int(generator.integers(len(values)))]
