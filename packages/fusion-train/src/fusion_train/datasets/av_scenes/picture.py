"""The pictures of a clip: one thing that moves before a plain background.

Shapes: T frames, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from fusion_train.datasets.av_scenes.graph import AvScene, Shape
from fusion_train.datasets.av_scenes.motion import FLOOR, WALL, Times, pose, timing
from numpy.typing import NDArray

Plane = NDArray[np.float64]

PAINTS = {
    "red": (220, 50, 47),
    "green": (60, 175, 75),
    "blue": (55, 110, 235),
    "yellow": (250, 215, 40),
    "white": (245, 245, 245),
    "purple": (150, 65, 200),
}
_STONE = (130, 130, 130)


def draw(scene: AvScene, seconds: float, side: int, time_T: Times) -> NDArray[np.uint8]:
    """Return the frames of a clip, pixels_THW3.

    Args:
        scene: what happens.
        seconds: the length of the clip.
        side: H and W in pixels.
        time_T: when each frame is shown.
    """
    when = timing(scene, scene.action, seconds)
    moves = pose(scene, when, time_T)
    axis = (np.arange(side) + 0.5) / side
    across_HW, down_HW = np.meshgrid(axis, axis)
    empty_HW3 = _background(scene, side, when.shade)
    frames = []
    for x, y, size, angle, light in zip(moves.x_T, moves.y_T, moves.size_T, moves.angle_T, moves.light_T, strict=True):
        # In the thing's own axes, with radius 1.
        right_HW, below_HW = (across_HW - x) / size, (down_HW - y) / size
        turned_HW = np.cos(angle) * right_HW + np.sin(angle) * below_HW
        upright_HW = np.cos(angle) * below_HW - np.sin(angle) * right_HW
        inside_HW = np.clip(0.5 - DISTANCES[scene.shape](turned_HW, upright_HW) * size * side, 0, 1)[..., None]
        paint_3 = light * np.array(PAINTS[scene.colour], np.float64)
        frames.append(empty_HW3 * (1 - inside_HW) + paint_3 * inside_HW)
    pixels_THW3: NDArray[np.uint8] = np.round(np.stack(frames)).astype(np.uint8)
    return pixels_THW3


def _background(scene: AvScene, side: int, shade: float) -> Plane:
    """Return the picture without the thing: a wall or ground where it meets one."""
    empty_HW3 = np.full((side, side, 3), shade)
    if scene.action == "hit":
        wall = round(WALL * side)
        empty_HW3[:, side - wall :] = _STONE if scene.side == "right" else shade
        empty_HW3[:, :wall] = _STONE if scene.side == "left" else shade
    if scene.action == "fall":
        empty_HW3[side - round(FLOOR * side) :] = _STONE
    return empty_HW3


def _circle(x: Plane, y: Plane) -> Plane:
    hole = 0.24 - np.hypot(x - 0.55, y)  # without a mark nobody could see it turn
    distance: Plane = np.maximum(np.hypot(x, y) - 1, hole)
    return distance


def _square(x: Plane, y: Plane) -> Plane:
    distance: Plane = np.maximum(np.abs(x), np.abs(y)) - 0.88
    return distance


def _triangle(x: Plane, y: Plane) -> Plane:
    distance: Plane = np.maximum(0.866 * np.abs(x) - 0.5 * y, y) - 0.55
    return distance


def _cross(x: Plane, y: Plane) -> Plane:
    long, broad = 1.0, 0.32
    upright = np.maximum(np.abs(x) - broad, np.abs(y) - long)
    level = np.maximum(np.abs(x) - long, np.abs(y) - broad)
    distance: Plane = np.minimum(upright, level)
    return distance


DISTANCES: dict[Shape, Callable[[Plane, Plane], Plane]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "cross": _cross,
}
"""How far each point is outside of each shape (below 0: inside), in radii."""
