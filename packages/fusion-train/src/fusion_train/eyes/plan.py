"""How long the eyes are trained, and on what."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class EyesPlan:
    """The plan of a training in two parts: an aligned start without the language model, then answers through it.

    Attributes:
        images: procedural images of the training split, each encoded once.
        aligning: steps of the aligned start.
        aligned_images: images of each of them.
        aligning_rate: learning rate.
        answering: steps by answers.
        answered_images: images of each of them, with all their questions.
        answering_rate: learning rate.
        anchor: weight of the words' loss beside that of the answers, so that what was aligned stays so.
        warmup: steps with a rising rate, in either part.
        weight_decay: of AdamW.
        checkpoint_every: steps.
        exam_images: images of the test split on which the result is measured.
        seed: of weights, images and order.
    """

    images: int = 5000
    aligning: int = 500
    aligned_images: int = 64
    aligning_rate: float = 2e-3
    answering: int = 400
    answered_images: int = 8
    answering_rate: float = 2e-4
    anchor: float = 0.1
    warmup: int = 30
    weight_decay: float = 0.01
    checkpoint_every: int = 40
    exam_images: int = 200
    seed: int = 0

    @property
    def steps(self) -> int:
        """All steps."""
        return self.aligning + self.answering

    def rate(self, step: int) -> float:
        """Return the learning rate of a step: in either part it rises, then falls as a cosine to 0."""
        aligns = step < self.aligning
        since, length = (step, self.aligning) if aligns else (step - self.aligning, self.answering)
        peak = self.aligning_rate if aligns else self.answering_rate
        rising = min(1.0, (since + 1) / self.warmup)
        return peak * rising * 0.5 * (1 + math.cos(math.pi * since / length))
