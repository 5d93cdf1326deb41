"""Scenes of a few coloured shapes on a plain ground: what lies where, drawn so that questions about them are balanced.

Lengths and positions are shares of the image's side; x runs to the right and y downwards. After CLEVR (Johnson et al. 2017),
in two dimensions.

Two things keep the splits apart. *Held-out combinations* of shape and colour occur in test scenes alone: each colour is held
out with one shape, each shape with two colours, so that no answer becomes likelier by it. And a *layout* (the shapes, colours,
sizes and the ninth of the image where each lies) belongs to one split alone, which a hash decides; so no test scene is also in
train, whatever the seed.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np

Split = Literal["train", "val", "test"]
Combination = Literal["seen", "held_out"]
Colouring = tuple[float, float, float]
Combo = tuple[str, str]

SPLITS: tuple[Split, ...] = ("train", "val", "test")
SHAPES = ("circle", "square", "triangle", "cross")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "black", "white")
SIZES = ("small", "large")
RADIUS = {"small": 0.09, "large": 0.14}
"""Half the side of the box that an object fills."""

MOST_OBJECTS = 5
LAYOUT_SHARES: tuple[tuple[Split, float], ...] = (("train", 0.8), ("val", 0.1), ("test", 0.1))

COMBOS: tuple[Combo, ...] = tuple(product(SHAPES, COLOURS))
HELD_OUT: tuple[Combo, ...] = tuple((SHAPES[place % len(SHAPES)], colour) for place, colour in enumerate(COLOURS))
SEEN: tuple[Combo, ...] = tuple(combo for combo in COMBOS if combo not in HELD_OUT)

_GAP = 0.03
_PLACEMENT_TRIES = 60


@dataclass(frozen=True)
class SceneObject:
    """One coloured shape with its centre."""

    shape: str
    colour: str
    size: str
    x: float
    y: float

    @property
    def combo(self) -> Combo:
        """Its shape and colour."""
        return self.shape, self.colour

    @property
    def radius(self) -> float:
        """Half the side of its box."""
        return RADIUS[self.size]


@dataclass(frozen=True)
class VisualScene:
    """What an image shows.

    ``theme``: the shape or colour (None: any object) of which the scene was given ``themed`` objects, 0 to 5 equally
    often; questions of number ask for it. ``ground``: the RGB colours of the upper and lower edge, 0 to 1.
    """

    objects: tuple[SceneObject, ...]
    theme: str | None
    themed: int
    ground: tuple[Colouring, Colouring]
    combination: Combination

    def number(self, attribute: str | None) -> int:
        """Return how many objects have a shape or a colour, or how many there are."""
        return sum(attribute in (None, item.shape, item.colour) for item in self.objects)

    def layout(self) -> str:
        """Return what decides the split: every object with the ninth of the image where it lies, in no order."""
        found = (f"{item.size} {item.colour} {item.shape} {int(item.x * 3)}{int(item.y * 3)}" for item in self.objects)
        return json.dumps(sorted(found))


def sample_scene(rng: np.random.Generator, split: Split) -> VisualScene:
    """Draw a scene of a split; half of the test scenes have one or more objects of held-out combinations.

    The theme and its number are drawn before anything else and kept, so the other draws cannot unbalance them.
    """
    combination: Combination = "held_out" if split == "test" and rng.random() < 0.5 else "seen"
    while True:
        themed = int(rng.integers(0, MOST_OBJECTS + 1))
        theme = _theme(rng, themed)
        total = themed if theme is None else int(rng.integers(max(1, themed), MOST_OBJECTS + 1))
        for _ in range(_PLACEMENT_TRIES):
            scene = _fill(rng, combination, theme, themed, total)
            if scene is not None and owner(scene) == split:
                return scene


def owner(scene: VisualScene) -> Split:
    """Return the one split that may show a scene; a layout with a held-out combination is always of test."""
    if scene.combination == "held_out":
        return "test"
    position = int.from_bytes(hashlib.sha256(scene.layout().encode()).digest()[:8], "big") / 2**64
    for split, share in LAYOUT_SHARES:
        position -= share
        if position < 0:
            return split
    return LAYOUT_SHARES[-1][0]


def _theme(rng: np.random.Generator, themed: int) -> str | None:
    """Draw what is counted: a shape, a colour or, where there is anything, all objects."""
    if themed and rng.random() < 0.25:
        return None
    names = SHAPES if rng.random() < 0.5 else COLOURS
    return names[int(rng.integers(len(names)))]


def _fill(
    rng: np.random.Generator, combination: Combination, theme: str | None, themed: int, total: int
) -> VisualScene | None:
    """Draw objects and ground; None where the objects found no room or none is of a held-out combination that must be."""
    pool = COMBOS if combination == "held_out" else SEEN
    inside = [combo for combo in pool if theme is None or theme in combo]
    outside = [combo for combo in pool if theme is not None and theme not in combo]
    combos = [_pick(rng, inside) for _ in range(themed)] + [_pick(rng, outside) for _ in range(total - themed)]
    if combination == "held_out" and not any(combo in HELD_OUT for combo in combos):
        return None
    objects = _place(rng, combos)
    if objects is None:
        return None
    return VisualScene(objects, theme, themed, (_ground(rng), _ground(rng)), combination)


def _pick(rng: np.random.Generator, combos: list[Combo]) -> Combo:
    return combos[int(rng.integers(len(combos)))]


def _place(rng: np.random.Generator, combos: list[Combo]) -> tuple[SceneObject, ...] | None:
    """Give each object a size and a place that touches no other; None where one finds no room."""
    objects: list[SceneObject] = []
    for shape, colour in combos:
        size = SIZES[int(rng.integers(len(SIZES)))]
        for _ in range(_PLACEMENT_TRIES):
            x, y = (float(value) for value in rng.uniform(RADIUS[size] + _GAP, 1 - RADIUS[size] - _GAP, 2))
            item = SceneObject(shape, colour, size, x, y)
            if all(_apart(item, other) for other in objects):
                objects.append(item)
                break
        else:
            return None
    order = rng.permutation(len(objects))
    return tuple(objects[int(place)] for place in order)


def _apart(a: SceneObject, b: SceneObject) -> bool:
    """Say whether the boxes of two objects leave a gap between them."""
    return max(abs(a.x - b.x), abs(a.y - b.y)) > a.radius + b.radius + _GAP


def _ground(rng: np.random.Generator) -> Colouring:
    """Draw a muted colour: a grey of medium lightness with a slight tint."""
    red, green, blue = rng.uniform(0.36, 0.64) + rng.uniform(-0.05, 0.05, 3)
    return float(red), float(green), float(blue)
