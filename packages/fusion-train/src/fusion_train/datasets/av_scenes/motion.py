"""When things happen in a clip and how they move: what picture and sound share, so that they belong together.

Shapes: T frames. Times are in s, places from 0 to 1 of the picture's side, from the left and from above.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from fusion_train.datasets.av_scenes.graph import Action, AvScene
from fusion_train.datasets.scenes.parameters import Parameter
from numpy.typing import NDArray

Times = NDArray[np.float64]

SIZE = Parameter("size", 0.13, 0.19, "of the side")
START = Parameter("start", 0.1, 0.35, "of the clip", "linear")
PERIOD = Parameter("period", 0.5, 1.0, "s")
HEIGHT = Parameter("height", 0.35, 0.65, "of the side", "linear")
SPIN = Parameter("spin", 0.6, 1.6, "turns a s")
SHADE = Parameter("shade", 18, 70, "of 255", "linear")
MOST_EVENTS = 3


@dataclass(frozen=True)
class Timing:
    """The draws of a clip.

    Attributes:
        starts: when the action's moments are: each hit, flash or landing, or the one moment at which it begins.
        seconds: the length of the clip.
        size: radius of the thing.
        height: how high it is, from above.
        spin: turns a second.
        shade: of the background, of 255.
    """

    starts: tuple[float, ...]
    seconds: float
    size: float
    height: float
    spin: float
    shade: float


def timing(scene: AvScene, action: Action, seconds: float) -> Timing:
    """Return when an action takes place in a clip; no value of a split can be drawn in another."""
    generator = np.random.default_rng([*scene.seed, 2])
    first = START.draw(scene.split, generator) * seconds
    period = PERIOD.draw(scene.split, generator)
    count = 1 + int(generator.integers(MOST_EVENTS))
    several = action in ("hit", "blink")
    starts = [first + number * period for number in range(count if several else 1)]
    return Timing(
        starts=tuple(start for start in starts if start < seconds - 0.3),
        seconds=seconds,
        size=SIZE.draw(scene.split, generator),
        height=HEIGHT.draw(scene.split, generator),
        spin=SPIN.draw(scene.split, generator),
        shade=SHADE.draw(scene.split, generator),
    )


@dataclass(frozen=True)
class Pose:
    """The thing at each frame: its centre, radius, angle (rad) and how bright it is, from 0 to 1."""

    x_T: Times
    y_T: Times
    size_T: Times
    angle_T: Times
    light_T: Times


def pose(scene: AvScene, when: Timing, time_T: Times) -> Pose:
    """Return how the thing moves over the frames of a clip."""
    outward = 1 if scene.side == "right" else -1
    still_T = np.ones_like(time_T)
    x_T, y_T = (0.5 + 0.22 * outward) * still_T, when.height * still_T
    size_T, angle_T, light_T = when.size * still_T, 0 * still_T, still_T
    first = when.starts[0]
    if scene.action == "hit":
        # It touches the wall at each of its moments and is furthest from it half-way between two.
        x_T = 0.5 + outward * (0.5 - WALL - when.size - 0.3 * _away(when.starts, time_T))
    elif scene.action == "blink":
        lit_T = np.zeros_like(time_T)
        for start in when.starts:
            lit_T[(time_T >= start) & (time_T < start + FLASH)] = 1
        light_T = 0.25 + 0.75 * lit_T
    elif scene.action == "leave":
        progress_T = np.clip((time_T - first) / (0.5 * (when.seconds - first)), 0, 1)
        x_T = 0.5 + outward * (0.5 + 1.5 * when.size) * progress_T
    elif scene.action == "fall":
        drop_T = np.clip((time_T - first + FALL) / FALL, 0, 1) ** 2
        y_T = 0.2 + (1 - FLOOR - when.size - 0.2) * drop_T
    elif scene.action == "spin":
        angle_T = 2 * np.pi * when.spin * np.maximum(time_T - first, 0)
    else:
        size_T = when.size * (0.5 + 1.1 * np.clip((time_T - first) / (when.seconds - first), 0, 1))
    return Pose(x_T, y_T, size_T, angle_T, light_T)


WALL = 0.06
"""Thickness of the wall that is hit."""
FLOOR = 0.08
"""Thickness of the ground that is fallen on."""
FLASH = 0.25
"""How long a flash lasts, in s."""
FALL = 0.35
"""How long a fall takes, in s."""
SWING = 0.35
"""How long the way from the wall to the furthest point takes, in s."""


def _away(moments: tuple[float, ...], time_T: Times) -> Times:
    """Return the distance from the wall, from 0 at each moment to 1, at steady speed."""
    nearest_T: Times = np.abs(time_T[:, None] - np.array(moments)[None]).min(axis=1)
    away_T: Times = np.clip(nearest_T / SWING, 0, 1)
    return away_T
