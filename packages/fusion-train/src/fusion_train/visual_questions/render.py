"""Scenes as images: each object by its signed distance, so that edges are smooth and any size gives the same picture.

Legend: H, W the image's sides in pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fusion_train.visual_questions.scene import Colouring, SceneObject, VisualScene

Plane = NDArray[np.float64]

PALETTE: dict[str, Colouring] = {
    "red": (0.84, 0.10, 0.12),
    "orange": (0.98, 0.52, 0.05),
    "yellow": (0.98, 0.90, 0.15),
    "green": (0.10, 0.62, 0.20),
    "blue": (0.12, 0.28, 0.85),
    "purple": (0.55, 0.15, 0.68),
    "black": (0.04, 0.04, 0.05),
    "white": (0.98, 0.98, 0.98),
}

SMALLEST, LARGEST = 16, 512


def render(scene: VisualScene, size: int) -> NDArray[np.uint8]:
    """Return the scene as an image (H, W, RGB) of ``size`` pixels a side; equal scenes give equal bytes.

    Raises:
        ValueError: the size is outside 16 to 512 pixels.
    """
    if not SMALLEST <= size <= LARGEST:
        raise ValueError(f"size {size} is outside {SMALLEST} to {LARGEST} pixels")
    centres = (np.arange(size, dtype=np.float64) + 0.5) / size
    x_HW, y_HW = np.meshgrid(centres, centres)
    upper, lower = (np.array(colour) for colour in scene.ground)
    image_HWC = upper + y_HW[:, :, None] * (lower - upper)
    for item in scene.objects:
        distance_HW = _signed_distance(item, x_HW, y_HW)
        cover_HWC = np.clip(0.5 - distance_HW * size, 0.0, 1.0)[:, :, None]
        image_HWC = image_HWC + cover_HWC * (np.array(PALETTE[item.colour]) - image_HWC)
    rounded: NDArray[np.uint8] = np.floor(image_HWC * 255.0 + 0.5).astype(np.uint8)
    return rounded


def _signed_distance(item: SceneObject, x_HW: Plane, y_HW: Plane) -> Plane:
    """Return how far each pixel lies outside an object (negative: inside), as a share of the image's side."""
    right_HW, down_HW, radius = x_HW - item.x, y_HW - item.y, item.radius
    if item.shape == "circle":
        return np.asarray(np.sqrt(right_HW**2 + down_HW**2) - radius)
    if item.shape == "square":
        return _box(right_HW, down_HW, 0.86 * radius, 0.86 * radius)
    if item.shape == "triangle":
        return _triangle(right_HW, down_HW, radius)
    arm = 0.34 * radius
    return np.minimum(_box(right_HW, down_HW, radius, arm), _box(right_HW, down_HW, arm, radius))


def _box(right_HW: Plane, down_HW: Plane, half_width: float, half_height: float) -> Plane:
    return np.maximum(np.abs(right_HW) - half_width, np.abs(down_HW) - half_height)


def _triangle(right_HW: Plane, down_HW: Plane, radius: float) -> Plane:
    """Return the distance to a triangle that stands on its base and fills the box of 2 by 2 radii."""
    side_HW = (2.0 * np.abs(right_HW) - down_HW - radius) / np.sqrt(5.0)
    return np.maximum(side_HW, down_HW - radius)
