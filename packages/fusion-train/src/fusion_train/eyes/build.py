"""Builds ``smollm2-vl``: images, training, exam, and a card beside the weights."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from fusion_core.device import native_dtype
from fusion_core.files import sha256_file, write_atomic
from fusion_core.journal import Journal
from fusion_core.locks import waiting_lock
from fusion_encoders.efficientnet import EfficientNetLite0
from fusion_encoders.image_projector import ImageProjector, ImageProjectorSettings
from fusion_encoders.smollm2_vl import (
    CARD_FILE,
    ENCODER_PRECISION,
    NAME,
    PROJECTOR_FILE,
    projector_folder,
    smollm2_sha256,
    with_eyes,
)
from safetensors.torch import save

from fusion_train.backbone_builders import BuiltBackbone, CategoryScore
from fusion_train.eyes.cells import SceneCells
from fusion_train.eyes.exam import Examiner
from fusion_train.eyes.plan import EyesPlan
from fusion_train.eyes.reading import ReadingCourse
from fusion_train.eyes.speaking import SpeakingCourse
from fusion_train.eyes.training import CourseTraining
from fusion_train.eyes.words import begin_with_words
from fusion_train.visual_questions import example

WORK_FOLDER = "work"
Announce = Callable[[str], None]


def build_smollm2_vl(seed: int, again: bool, announce: Announce) -> BuiltBackbone:
    """Train the eyes of smollm2-vl, from where an earlier call was stopped, and store them in the user's cache.

    Args:
        seed: of weights, images and order.
        again: throw away what was built before.
        announce: called with a sentence at the start of each stage.

    Raises:
        MissingAssetError: the weights of a part are not installed.
    """
    encoder = EfficientNetLite0(ENCODER_PRECISION)
    settings = ImageProjectorSettings()
    folder = projector_folder(encoder, settings)
    with waiting_lock(folder / "build.lock", f"building {folder}"):
        if again:
            shutil.rmtree(folder / WORK_FOLDER, ignore_errors=True)
            (folder / CARD_FILE).unlink(missing_ok=True)
        if not (folder / CARD_FILE).is_file():
            _build(encoder, settings, EyesPlan(seed=seed), folder, announce)
    return read_card(folder)


def read_card(folder: Path) -> BuiltBackbone:
    """Return what the card of a projector says."""
    card: dict[str, Any] = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
    scores = tuple(CategoryScore(**score) for score in card["scores"])
    return BuiltBackbone(NAME, folder, card["projector_sha256"], card["minutes"], scores)


def _build(
    encoder: EfficientNetLite0, settings: ImageProjectorSettings, plan: EyesPlan, folder: Path, announce: Announce
) -> None:
    torch.manual_seed(plan.seed)
    projector = ImageProjector(settings)
    backbone = with_eyes(encoder, projector, "0" * 64, native_dtype())
    cells = SceneCells(encoder)
    asked = [example("test", plan.seed, plan.exam_first + index) for index in range(plan.exam_images)]
    work = folder / WORK_FOLDER
    clock = Journal(work / "stages.jsonl")
    with _timed(clock, "images"):
        announce(f"images: {plan.images} to learn from, {plan.exam_images} to be examined on")
        cells.fill([example("train", plan.seed, index)[0] for index in range(plan.images)] + [one[0] for one in asked])
    with _timed(clock, "reading"):
        announce(f"reading: {plan.reading.steps} steps without the language model")
        reading = ReadingCourse(projector.reader, settings, cells, plan)
        reading.begin()
        read_by = projector.reader.parameters()
        CourseTraining("reading", plan.reading, projector, read_by, work).run(reading, announce)
    with _timed(clock, "speaking"):
        announce(f"speaking: {plan.speaking.steps} steps by the language model's answers")
        begin_with_words(projector, backbone)
        speaking = SpeakingCourse(backbone, projector, cells, plan)
        spoken_by = (projector.said_SD, projector.words_WD)
        CourseTraining("speaking", plan.speaking, projector, spoken_by, work).run(speaking, announce)
    with _timed(clock, "exam"):
        announce("exam")
        scores = Examiner(backbone, cells).examine(projector, asked)
    write_atomic(folder / PROJECTOR_FILE, save({name: x.contiguous() for name, x in projector.state_dict().items()}))
    card = {
        "name": NAME,
        "language_sha256": smollm2_sha256(),
        "encoder_fingerprint": encoder.fingerprint(),
        "projector_sha256": sha256_file(folder / PROJECTOR_FILE),
        "projector": asdict(settings),
        "plan": asdict(plan),
        "computed_in": str(native_dtype()),
        "minutes": round(sum(event["seconds"] for event in clock.read()) / 60, 1),
        "scores": [asdict(score) for score in scores],
    }
    write_atomic(folder / CARD_FILE, json.dumps(card, indent=2).encode())
    for course in ("reading", "speaking"):
        shutil.rmtree(work / course / "checkpoints", ignore_errors=True)


@contextmanager
def _timed(clock: Journal, stage: str) -> Iterator[None]:
    """Write how long a stage took, also where it is stopped, so that the minutes of a build add up."""
    started = time.monotonic()
    try:
        yield
    finally:
        clock.write(stage, seconds=round(time.monotonic() - started, 1))
