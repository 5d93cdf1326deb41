"""Physical parameters of synthesised sounds, and which values each split may use.

The range of every parameter is cut into twelve cells, linear or logarithmic. Each cell belongs to one split, so that the
ranges of train, val and test interleave but never touch: a test sound has no value that a train sound can have.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from fusion_train.datasets.scenes.options import SPLITS, Split

CELLS: tuple[Split, ...] = tuple({"T": SPLITS[0], "V": SPLITS[1], "E": SPLITS[2]}[cell] for cell in "TTETVTTETVTT")
"""The split of each cell, from the lowest values to the highest: T train, V val, E test."""

GUARD = 0.05
"""The share of a cell that is left unused at either end, so that neighbouring cells do not touch."""


@dataclass(frozen=True)
class Parameter:
    """A physical quantity of an event, from ``low`` to ``high`` in ``unit``."""

    name: str
    low: float
    high: float
    unit: str
    scale: Literal["linear", "log"] = "log"

    def ranges(self, split: Split) -> list[tuple[float, float]]:
        """Return the sub-ranges (low, high) that a split may use."""
        edges = np.arange(len(CELLS) + 1) / len(CELLS)
        guard = GUARD / len(CELLS)
        return [
            (self._at(edges[cell] + guard), self._at(edges[cell + 1] - guard))
            for cell, owner in enumerate(CELLS)
            if owner == split
        ]

    def draw(self, split: Split, generator: np.random.Generator) -> float:
        """Return a value from a random sub-range of the split."""
        ranges = self.ranges(split)
        low, high = ranges[generator.integers(len(ranges))]
        return float(generator.uniform(low, high))

    def position(self, value: float) -> float:
        """Return where a value lies in the whole range, from 0 to 1."""
        if self.scale == "log":
            return float(np.log(value / self.low) / np.log(self.high / self.low))
        return (value - self.low) / (self.high - self.low)

    def _at(self, position: float) -> float:
        """Return the value at a position from 0 to 1 in the range."""
        if self.scale == "log":
            return float(self.low * (self.high / self.low) ** position)
        return float(self.low + (self.high - self.low) * position)
