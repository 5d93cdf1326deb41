"""What the weights of a training are judged by on val, and what that is called in logs, cards and on the screen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

CIDER_D, ACCURACY = "cider_d", "accuracy"
LABELS = {CIDER_D: "val CIDEr-D", ACCURACY: "val accuracy"}
"""What logs call a score, and what people read."""


@dataclass(frozen=True)
class Validation:
    """What weights are chosen by.

    Attributes:
        score: judges the weights as they are; all processes call it together.
        metric: what it returns, one of :data:`LABELS`.
        how: how captions or answers come about.
    """

    score: Callable[[], float]
    metric: str = CIDER_D
    how: str = "greedy"

    @property
    def label(self) -> str:
        """What people read."""
        return LABELS[self.metric]

    @property
    def described(self) -> str:
        """What the run card says of it."""
        return f"{self.metric} of val, {self.how}"
