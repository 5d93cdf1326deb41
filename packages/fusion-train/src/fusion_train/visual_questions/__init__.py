"""Procedural images with questions: ``sample_scene``, ``render`` and ``ask``, or all of an index at once by ``example``."""

from __future__ import annotations

import numpy as np

from fusion_train.visual_questions.ask import CATEGORIES, VisualQuestion, ask
from fusion_train.visual_questions.render import render
from fusion_train.visual_questions.scene import SPLITS, Split, VisualScene, sample_scene

__all__ = ["CATEGORIES", "SPLITS", "Split", "VisualQuestion", "VisualScene", "ask", "example", "render", "sample_scene"]


def example(split: Split, seed: int, index: int) -> tuple[VisualScene, list[VisualQuestion]]:
    """Return a scene of a split with its questions; each index has its own stream, so any can be had without the others."""
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    scene = sample_scene(rng, split)
    return scene, ask(scene, rng)
