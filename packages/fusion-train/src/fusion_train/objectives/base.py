"""What every objective does: add the gradients of an effective batch, and say what it found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import nn

from fusion_train.learner import Pair


class Objective(Protocol):
    """The loss of a training, or an addition to it."""

    @property
    def name(self) -> str:
        """What the log and the run card call it."""
        ...

    @property
    def module(self) -> nn.Module | None:
        """Trainable weights of its own, kept in checkpoints beside the system's; None without any."""
        ...

    def accumulate(self, pairs: Sequence[Pair], step: int) -> dict[str, float]:
        """Add the gradients of an effective batch and return what the log says of it.

        Args:
            pairs: clips and captions, the same in every process.
            step: optimiser steps done before.
        """
        ...
