"""Backbones that are trained on this machine, by name, and what their training reports.

A builder is a function ``(seed, again, announce) -> BuiltBackbone`` and one line in ``BUILDERS``. It can be stopped at any point
and goes on where it was; a backbone that was built is not built again unless ``again`` says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fusion_core.registry import LazyRegistry

BUILDERS = LazyRegistry(
    "backbone to build",
    "fusion.backbone_builders",
    {
        "smollm2-vl": "fusion_train.eyes.build:build_smollm2_vl",
        "tiny-vlm": "fusion_train.tiny_vlm.build:build_tiny_vlm",
    },
)


@dataclass(frozen=True)
class CategoryScore:
    """Accuracy on the questions of one kind about images that training never showed.

    Attributes:
        category: which kind.
        questions: how many.
        accuracy: share for which the likeliest option is the answer.
        greedy: share for which the likeliest of all tokens is the answer's first.
        blind: accuracy without the image.
        chance: mean of one over the number of options.
    """

    category: str
    questions: int
    accuracy: float
    greedy: float
    blind: float
    chance: float


@dataclass(frozen=True)
class BuiltBackbone:
    """A backbone that was built.

    Attributes:
        name: by which ``load_backbone`` loads it.
        folder: where its weights and card lie.
        weights_sha256: of what was trained.
        minutes: that training took, interruptions left out.
        scores: by kind of question.
    """

    name: str
    folder: Path
    weights_sha256: str
    minutes: float
    scores: tuple[CategoryScore, ...]
