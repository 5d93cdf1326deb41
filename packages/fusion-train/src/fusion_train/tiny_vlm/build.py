"""Builds ``tiny-vlm``: tokenizer, training, exam, and a card beside the weights.

What the package carries is the outcome of this with seed 0: a folder in transformers' layout, copied as it is.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from fusion_core.files import cache_dir, sha256_file, write_atomic
from fusion_core.locks import waiting_lock
from fusion_core.pretrained import TINY_VLM, load_folder
from fusion_core.vision import VisionBackbone
from torch import Tensor, nn

from fusion_train.backbone_builders import BuiltBackbone, CategoryScore
from fusion_train.eyes.exam import Examiner
from fusion_train.tiny_vlm.card import render_card
from fusion_train.tiny_vlm.language import train_tokenizer
from fusion_train.tiny_vlm.lessons import pixels_of
from fusion_train.tiny_vlm.model import as_backbone, save_model, untrained_model
from fusion_train.tiny_vlm.training import Plan, Training
from fusion_train.visual_questions import VisualScene, example

WORK_FOLDER = "work"
CARD_FILE = "card.json"
README_FILE = "README.md"
WEIGHTS_FILE = "model.safetensors"
EXAM_IMAGES = 600
Announce = Callable[[str], None]


def build_tiny_vlm(seed: int, again: bool, announce: Announce) -> BuiltBackbone:
    """Train tiny-vlm, from where an earlier call was stopped, and store it in the user's cache.

    Args:
        seed: of weights, images and order.
        again: throw away what was built before.
        announce: called with a sentence at the start of each stage.
    """
    return build(cache_dir() / "backbones" / f"{TINY_VLM}-seed-{seed}", Plan(seed=seed), again, announce)


def build(
    folder: Path, plan: Plan, again: bool = False, announce: Announce = lambda _: None, images: int = EXAM_IMAGES
) -> BuiltBackbone:
    """Train a model by a plan into a folder; one that lies there finished is returned at once.

    Args:
        folder: in transformers' layout afterwards, with card and log.
        plan: how long and on what.
        again: throw away what was built before.
        announce: called with a sentence at the start of each stage.
        images: of the exam.
    """
    with waiting_lock(folder / "build.lock", f"building {folder}"):
        if again:
            shutil.rmtree(folder / WORK_FOLDER, ignore_errors=True)
            (folder / CARD_FILE).unlink(missing_ok=True)
        if not (folder / CARD_FILE).is_file():
            _build(folder, plan, announce, images)
    return read_card(folder)


def read_card(folder: Path) -> BuiltBackbone:
    """Return what the card of a model says."""
    card: dict[str, Any] = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
    scores = tuple(CategoryScore(**score) for score in card["scores"])
    return BuiltBackbone(TINY_VLM, folder, card["weights_sha256"], card["minutes"], scores)


def _build(folder: Path, plan: Plan, announce: Announce, images: int) -> None:
    announce("tokenizer")
    tokenizer = train_tokenizer()
    model = untrained_model(tokenizer, plan.seed)
    training = Training(model, as_backbone(model, tokenizer), plan, folder / WORK_FOLDER)
    announce(f"training: {plan.eyes} steps for the eyes, {plan.steps - plan.eyes} for all")
    training.run(announce)
    save_model(model, tokenizer, folder)
    backbone = load_folder(folder, TINY_VLM, torch.float32)
    announce(f"exam: questions about {images} images")
    scores = examine(backbone, images, plan.seed)
    card = {
        "name": TINY_VLM,
        "weights_sha256": sha256_file(folder / WEIGHTS_FILE),
        "parameters": sum(parameter.numel() for parameter in backbone.model.parameters()),
        "plan": asdict(plan),
        "minutes": round(training.seconds() / 60, 1),
        "exam_images": images,
        "scores": [asdict(score) for score in scores],
    }
    write_atomic(folder / README_FILE, render_card(card).encode())
    write_atomic(folder / CARD_FILE, json.dumps(card, indent=2).encode())


class _Images:
    """Hands out the pixels of scenes."""

    def read(self, scenes: Iterable[VisualScene]) -> Tensor:
        return pixels_of(list(scenes))


class _Eyes(nn.Module):
    """The eyes of a backbone, from pixels to tokens."""

    def __init__(self, backbone: VisionBackbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, pixels_B3HW: Tensor) -> Tensor:
        return self.backbone.embed_images(pixels_B3HW)


def examine(backbone: Any, images: int, seed: int) -> tuple[CategoryScore, ...]:
    """Return the scores of a model on images of the test split, half of them with combinations that training never showed."""
    asked = [example("test", seed, index) for index in range(images)]
    return Examiner(backbone, _Images()).examine(_Eyes(backbone), asked)
