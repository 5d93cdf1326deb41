"""Colours that people with colour-blind eyes tell apart, and the proof: simulated, then measured.

- Simulation: Machado, Oliveira and Fernandes, "A Physiologically-based Model for Simulation of Color Vision Deficiency", IEEE
  TVCG 2009, the matrices of severity 1.0, which act on linear RGB.
- Distance: ΔE of CIE 1976 in L*a*b* of the D65 white point; 2.3 is just noticeable, 10 is plain at a glance.

The colours are those of Okabe and Ito, "Color Universal Design", 2008, the yellow left out, which is too light for lines on
white.
Figures add a second sign (shape, dash or place), so that nothing hangs on colour alone.

Legend: N colours, 3 channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
SKY, VERMILION, GREY, BLACK = "#56B4E9", "#D55E00", "#8C8C8C", "#222222"
CATEGORIES = (BLUE, VERMILION, SKY, BLACK, ORANGE, GREEN, PURPLE)
"""For series, in this order, the best apart first."""

SYSTEM_COLOURS = {
    "additive": BLUE,
    "cross-attention": VERMILION,
    "concat": GREEN,
    "partial-unfreeze": ORANGE,
    "data-only": BLACK,
    "hybrid": PURPLE,
}
FEWEST = 10.0  # ΔE between any two colours of a figure, under any simulated vision

Floats = NDArray[np.float64]

MATRICES: dict[str, Floats] = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
"""By vision: linear RGB as seen, from linear RGB."""

_XYZ_OF_RGB = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_WHITE = _XYZ_OF_RGB.sum(axis=1)


def least_difference(colours: Sequence[str], vision: str) -> tuple[float, tuple[str, str]]:
    """Return the smallest ΔE between two of the colours as a vision sees them, and which two.

    Args:
        colours: at least two, as #RRGGBB.
        vision: a key of ``MATRICES``.
    """
    seen_N3 = _lab(np.clip(_linear(colours) @ MATRICES[vision].T, 0, 1))
    distances = {
        (colours[a], colours[b]): float(np.linalg.norm(seen_N3[a] - seen_N3[b]))
        for a, b in combinations(range(len(colours)), 2)
    }
    pair = min(distances, key=lambda pair: distances[pair])
    return distances[pair], pair


def confusable(colours: Sequence[str], least: float = FEWEST) -> list[str]:
    """Return a sentence for each vision to which two of the colours look too much alike; none where all is well."""
    different = list(dict.fromkeys(colour.upper() for colour in colours))
    if len(different) < 2:
        return []
    found = []
    for vision in MATRICES:
        distance, (first, second) = least_difference(different, vision)
        if distance < least:
            found.append(f"{vision}: {first} and {second} differ by ΔE {distance:.1f}, less than {least:g}.")
    return found


def _linear(colours: Sequence[str]) -> Floats:
    """Return linear RGB (N, 3) in 0..1 of sRGB colours."""
    bytes_N3 = np.array([[int(colour[place : place + 2], 16) for place in (1, 3, 5)] for colour in colours])
    encoded_N3 = bytes_N3 / 255
    linear_N3: Floats = np.where(encoded_N3 <= 0.04045, encoded_N3 / 12.92, ((encoded_N3 + 0.055) / 1.055) ** 2.4)
    return linear_N3


def _lab(linear_N3: Floats) -> Floats:
    """Return L*a*b* (N, 3) of linear RGB."""
    ratio_N3 = linear_N3 @ _XYZ_OF_RGB.T / _WHITE
    root_N3 = np.where(ratio_N3 > (6 / 29) ** 3, np.cbrt(ratio_N3), ratio_N3 / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = root_N3.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)
