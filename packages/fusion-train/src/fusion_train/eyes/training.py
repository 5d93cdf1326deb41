"""The training of the eyes, a course at a time.

What a step is taught follows from its number, so training that was stopped goes on from its last checkpoint to the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import torch
from fusion_core.journal import Journal
from fusion_core.progress import track
from torch import Tensor, nn
from torch.optim import AdamW

from fusion_train.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from fusion_train.eyes.plan import Course

CLIP_NORM = 1.0
_BETAS = (0.9, 0.98)


class Lessons(Protocol):
    """Gives what a step is taught by."""

    def losses(self, step: int) -> dict[str, Tensor]:
        """Return the losses of a step by name; ``total`` is the one whose gradient is followed."""
        ...


class CourseTraining:
    """The state of a course.

    Args:
        name: of the course.
        course: how long and how fast.
        module: holds what is trained, and is kept whole in the checkpoints.
        trained: those of its parameters that are trained.
        folder: checkpoints and log.
    """

    def __init__(
        self, name: str, course: Course, module: nn.Module, trained: Iterable[nn.Parameter], folder: Path
    ) -> None:
        self.name = name
        self.course = course
        self.modules = {"projector": module}
        self.trained = list(trained)
        self.folder = folder / name
        self.optimiser = AdamW(self.trained, lr=course.rate, betas=_BETAS, weight_decay=course.weight_decay)
        self.journal = Journal(self.folder / "log.jsonl")

    def run(self, lessons: Lessons, announce: Callable[[str], None]) -> None:
        """Train to the end, from the last checkpoint where there is one."""
        for parameter in self.trained:
            parameter.requires_grad_(True)
        for module in self.modules.values():
            module.train()
        for step in track(range(self._resume(announce), self.course.steps), self.name):
            self._step(step, lessons.losses(step))
            if (step + 1) % self.course.checkpoint_every == 0 or step + 1 == self.course.steps:
                save_checkpoint(self.folder / "checkpoints", step + 1, self.modules, self.optimiser, {}, keep=1)
        for parameter in self.trained:
            parameter.requires_grad_(False)
        for module in self.modules.values():
            module.eval()

    def _resume(self, announce: Callable[[str], None]) -> int:
        for path in list_checkpoints(self.folder / "checkpoints")[-1:]:
            start = int(load_checkpoint(path, self.modules, self.optimiser)["step"])
            announce(f"{self.name}: going on from step {start} of {self.course.steps}")
            return start
        return 0

    def _step(self, step: int, losses: dict[str, Tensor]) -> None:
        torch.autograd.backward(losses["total"])
        nn.utils.clip_grad_norm_(self.trained, CLIP_NORM)
        for group in self.optimiser.param_groups:
            group["lr"] = self.course.rate_at(step)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.journal.write("step", step=step + 1, **{name: float(value.detach()) for name, value in losses.items()})
