"""How long the eyes are trained, and on what."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Course:
    """One of the two parts of a training.

    Attributes:
        steps: of the optimiser.
        images: of each step.
        rate: learning rate at its highest.
        warmup: steps with a rising rate.
        weight_decay: of AdamW.
        checkpoint_every: steps.
    """

    steps: int
    images: int
    rate: float
    warmup: int
    weight_decay: float
    checkpoint_every: int

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step: it rises, then falls as a cosine to 0."""
        rising = min(1.0, (step + 1) / self.warmup)
        return self.rate * rising * 0.5 * (1 + math.cos(math.pi * step / self.steps))


@dataclass(frozen=True)
class EyesPlan:
    """The plan of a training: reading the cells without the language model, then words through it.

    Attributes:
        images: procedural images of the training split, each encoded once.
        reading: the course in which cells are read.
        speaking: the course in which the answers of the language model teach the words.
        taught: the kinds of question that the second course asks.
        wording: weight of the surprise at the answer among all tokens, beside that among the options.
        exam_images: images of the test split on which the result is measured.
        exam_first: the number of the first of them; those before it were looked at while the recipe was made.
        seed: of weights, images and order.
    """

    images: int = 10000
    reading: Course = Course(900, 64, 1e-3, 50, 0.05, 50)
    speaking: Course = Course(1500, 4, 1e-2, 10, 0.0, 50)
    taught: tuple[str, ...] = ("count", "colour", "shape")
    wording: float = 0.2
    exam_images: int = 300
    exam_first: int = 2300
    seed: int = 0
