"""Questions about a scene whose answers are balanced within each category, so that none can be guessed from the text.

- *count*: the number of the scene's theme, which the scene drew from 0 to 5 with equal chances.
- *colour*, *shape*: of an object that is named by what is unique about it; the scene's draw favours no colour and no shape.
- *relation*, *compare*: a coin decides which of two things is named first, so yes and no are equally likely for each pair.
- *existence*: a coin decides the answer, then a combination that is there or one that shares its shape or colour but is not.
  Questions about held-out combinations are asked of the scenes that have one, and of no others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import TypeVar

import numpy as np

from fusion_train.visual_questions.scene import (
    COLOURS,
    HELD_OUT,
    MOST_OBJECTS,
    SEEN,
    SHAPES,
    Combo,
    SceneObject,
    VisualScene,
)

CATEGORIES = ("count", "colour", "shape", "relation", "compare", "existence")
YES_NO = ("yes", "no")
NUMBERS = tuple(str(number) for number in range(MOST_OBJECTS + 1))
LEAST_DISTANCE = 0.15
"""How far apart two things must lie along an axis before it is asked which comes first, as a share of the side."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class VisualQuestion:
    """A question of a category with its answer, one word of the options."""

    text: str
    answer: str
    options: tuple[str, ...]
    category: str


def ask(scene: VisualScene, rng: np.random.Generator) -> list[VisualQuestion]:
    """Return one question of each category that the scene allows, in the order of ``CATEGORIES``."""
    drawn = (question(scene, rng) for question in _QUESTIONS.values())
    return [question for question in drawn if question is not None]


def _count(scene: VisualScene, rng: np.random.Generator) -> VisualQuestion:
    things = plural(scene.theme) if scene.theme is not None else "objects"
    return VisualQuestion(f"How many {things} are there?", str(scene.number(scene.theme)), NUMBERS, "count")


def _colour(scene: VisualScene, rng: np.random.Generator) -> VisualQuestion | None:
    named = _unique(scene.objects, lambda item: (item.shape, f"{item.size} {item.shape}"))
    if not named:
        return None
    name, item = _choose(rng, named)
    return VisualQuestion(f"What colour is the {name}?", item.colour, COLOURS, "colour")


def _shape(scene: VisualScene, rng: np.random.Generator) -> VisualQuestion | None:
    named = _unique(scene.objects, lambda item: (f"{item.colour} object", f"{item.size} {item.colour} object"))
    if not named:
        return None
    name, item = _choose(rng, named)
    return VisualQuestion(f"What shape is the {name}?", item.shape, SHAPES, "shape")


def _relation(scene: VisualScene, rng: np.random.Generator) -> VisualQuestion | None:
    named = _unique(scene.objects, lambda item: (f"{item.colour} {item.shape}",))
    pairs = [
        (first, second, words)
        for (first, a), (second, b) in permutations(named, 2)
        for words, distance in (("left of", b.x - a.x), ("above", b.y - a.y))
        if distance >= LEAST_DISTANCE
    ]
    if not pairs:
        return None
    first, second, words = _choose(rng, pairs)
    answer = _coin(rng)
    if answer == "no":
        first, second = second, first
    return VisualQuestion(f"Is the {first} {words} the {second}?", answer, YES_NO, "relation")


def _compare(scene: VisualScene, rng: np.random.Generator) -> VisualQuestion | None:
    names = SHAPES if rng.random() < 0.5 else COLOURS
    unequal = [pair for pair in combinations(names, 2) if scene.number(pair[0]) != scene.number(pair[1])]
    present = [pair for pair in unequal if scene.number(pair[0]) and scene.number(pair[1])]
    if not unequal:
        return None
    more, fewer = sorted(_choose(rng, present or unequal), key=scene.number, reverse=True)
    answer = _coin(rng)
    first, second = (more, fewer) if answer == "yes" else (fewer, more)
    return VisualQuestion(f"Are there more {plural(first)} than {plural(second)}?", answer, YES_NO, "compare")


def _existence(scene: VisualScene, rng: np.random.Generator) -> VisualQuestion | None:
    pool = HELD_OUT if scene.combination == "held_out" else SEEN
    there = {item.combo for item in scene.objects}
    present = [combo for combo in pool if combo in there]
    similar = [combo for combo in pool if combo not in there and _shares(combo, scene)]
    answer = _coin(rng)
    choices = present if answer == "yes" else similar
    if not choices or not present or not similar:
        return None
    shape, colour = _choose(rng, choices)
    article = "an" if colour[0] in "aeiou" else "a"
    return VisualQuestion(f"Is there {article} {colour} {shape}?", answer, YES_NO, "existence")


_QUESTIONS: dict[str, Callable[[VisualScene, np.random.Generator], VisualQuestion | None]] = dict(
    zip(CATEGORIES, (_count, _colour, _shape, _relation, _compare, _existence), strict=True)
)


def _unique(
    objects: Sequence[SceneObject], names: Callable[[SceneObject], tuple[str, ...]]
) -> list[tuple[str, SceneObject]]:
    """Return the objects that have a name of their own, each with the first one that no other object has."""
    found = []
    for item in objects:
        others = {name for other in objects if other is not item for name in names(other)}
        own = [name for name in names(item) if name not in others]
        if own:
            found.append((own[0], item))
    return found


def _shares(combo: Combo, scene: VisualScene) -> bool:
    """Say whether something in the scene has the shape or the colour of a combination."""
    return any(combo[0] == item.shape or combo[1] == item.colour for item in scene.objects)


def plural(attribute: str) -> str:
    """Return «circles», «crosses», or «red objects»."""
    if attribute in COLOURS:
        return f"{attribute} objects"
    return f"{attribute}es" if attribute.endswith("s") else f"{attribute}s"


def _coin(rng: np.random.Generator) -> str:
    return YES_NO[int(rng.integers(2))]


def _choose(rng: np.random.Generator, items: Sequence[Item]) -> Item:
    return items[int(rng.integers(len(items)))]
