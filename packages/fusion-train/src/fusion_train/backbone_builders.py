"""Backbones that are trained on this machine, by name, and what their training reports.

A builder is a function ``(seed, again, announce) -> BuiltBackbone`` and one line in ``BUILDERS``. It can be stopped at any point
and goes on where it was; a backbone that was built is not built again unless ``again`` says so.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from fusion_core.files import cache_dir
from fusion_core.registry import LazyRegistry

BUILDERS = LazyRegistry(
    "backbone to build",
    "fusion.backbone_builders",
    {
        "smollm2-vl": "fusion_train.eyes.build:build_smollm2_vl",
        "tiny-vlm": "fusion_train.tiny_vlm.build:build_tiny_vlm",
    },
)
_PACKAGES = ("fusion_core", "fusion_encoders")
_CARD = "card.json"
_PREFERS_BUILT = ("smollm2-vl",)
"""Those whose loader takes what was built on this machine before what comes with a package."""


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


@dataclass(frozen=True)
class TrainedBackbone:
    """A backbone that was trained by a builder, as its card says.

    Attributes:
        card: where the card lies.
        built_here: whether it was built on this machine; if not, it comes with a package.
        accuracy: mean over the kinds of questions about images that training never showed.
        blind: the same without the image.
    """

    card: Path
    built_here: bool
    accuracy: float
    blind: float


def find_trained(name: str) -> TrainedBackbone | None:
    """Return the trained backbone that a name stands for, as its loader chooses between a package and what was built here."""
    built = sorted((cache_dir() / "backbones").glob(f"{name}-*/{_CARD}"), key=lambda path: path.stat().st_mtime)
    shipped = [Path(str(files(package) / "weights" / name / _CARD)) for package in _PACKAGES]
    for card in (*reversed(built), *shipped) if name in _PREFERS_BUILT else (*shipped, *reversed(built)):
        if card.is_file():
            scores: list[dict[str, Any]] = json.loads(card.read_text(encoding="utf-8"))["scores"]
            accuracy, blind = (sum(score[which] for score in scores) / len(scores) for which in ("accuracy", "blind"))
            return TrainedBackbone(card, card in built, accuracy, blind)
    return None
