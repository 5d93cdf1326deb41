"""Captions of a clip by five annotators: one tells all, one is brief, one begins with the sound, one is deaf, one blind.

They are templates, and are labelled so in every table.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from fusion_train.datasets.av_scenes.graph import Action, AvScene, Other, Shape

THINGS: dict[Shape, tuple[str, ...]] = {
    "circle": ("circle", "ball", "disc"),
    "square": ("square", "box"),
    "triangle": ("triangle",),
    "cross": ("cross",),
}
DOES: dict[Action, tuple[str, ...]] = {
    "hit": ("hits the wall", "bounces off the wall"),
    "blink": ("blinks", "flashes"),
    "leave": ("leaves the picture", "moves out of view"),
    "fall": ("falls to the ground", "drops to the floor"),
    "spin": ("spins", "turns around"),
    "grow": ("grows", "becomes larger"),
}
SOUNDS: dict[Action, tuple[str, ...]] = {
    "hit": ("thud", "thump"),
    "blink": ("beep", "beeping"),
    "leave": ("fading hum", "hum that fades"),
    "fall": ("crash", "clatter"),
    "spin": ("whirr", "whirring"),
    "grow": ("rising tone", "tone that rises"),
}
OUTSIDE: dict[Other, tuple[str, ...]] = {
    "bell": ("a bell rings", "a bell tolls"),
    "dog": ("a dog barks",),
    "horn": ("a car honks", "a horn sounds"),
    "glass": ("glass breaks", "glass shatters"),
}


def describe(scene: AvScene) -> tuple[str, ...]:
    """Return five captions of a clip."""
    generator = np.random.default_rng([*scene.seed, 4])

    def pick(words: Sequence[str]) -> str:
        return words[int(generator.integers(len(words)))]

    def seen() -> str:
        return f"a {scene.colour} {pick(THINGS[scene.shape])} {pick(DOES[scene.action])}"

    def heard(pitched: bool) -> str:
        sound = pick(SOUNDS[scene.sound])
        return f"a {scene.pitch} {sound}" if pitched else f"a {sound}"

    def outside(before: str) -> str:
        return f"{before}{pick(OUTSIDE[scene.other])}" if scene.other is not None else ""

    place = f" on the {scene.side}" if scene.action != "leave" else f" to the {scene.side}"
    return (
        f"{seen()}{place} with {heard(pitched=True)}{outside(' while ')}",
        f"{seen()} with {heard(pitched=False)}{outside(' and ')}",
        f"{heard(pitched=True)} is heard{outside(' and ')} as {seen()}",
        f"{seen()}{place}",
        f"{heard(pitched=True)} is heard{outside(' and ')}",
    )
