"""The dataset ``av-scenes``: procedural videos whose sounds belong to what is seen, with captions and questions.

<root>/video/<split>/<id>.mp4     H.264 pictures and an AAC sound track
<root>/questions/<split>.json     questions by what they need: sight, sound, both
<root>/scenes.json                what happens in each clip
and the manifest, references and card of every prepared dataset.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from fusion_core.errors import ConfigError
from fusion_core.files import sha256_file, write_atomic
from fusion_core.progress import track
from fusion_encoders.video_writing import write_video
from fusion_eval.schemas import ManifestRow, ReferenceItem, References
from fusion_eval.schemas.questions import Questions
from fusion_train.datasets.av_scenes.captions import describe
from fusion_train.datasets.av_scenes.graph import AvScene
from fusion_train.datasets.av_scenes.options import AvScenesOptions
from fusion_train.datasets.av_scenes.picture import draw
from fusion_train.datasets.av_scenes.plan import plan
from fusion_train.datasets.av_scenes.questions import ask
from fusion_train.datasets.av_scenes.sound import Sounds
from fusion_train.datasets.base import (
    CARD,
    VIDEO,
    DatasetCard,
    DatasetContent,
    PreparedDataset,
    json_sha256,
    write_dataset,
)
from fusion_train.datasets.scenes.leakage import agreement, share, words
from fusion_train.datasets.scenes.recipe import CLAIM, claim

VERSION = 2
"""Counts up whenever the same options give other clips."""
SCENES_FILE = "scenes.json"
LICENCE = "CC0-1.0"
_LOCK = ".lock"


class AvScenesRecipe:
    """Makes the videos."""

    name = "av-scenes"
    options_type = AvScenesOptions

    def identity(self, options: AvScenesOptions) -> dict[str, Any]:
        """Return the options and the version of the recipe."""
        return options.model_dump(mode="json") | {"version": VERSION}

    def prepare(self, root: Path, options: AvScenesOptions) -> PreparedDataset:
        """Make the clips in ``root``; those that lie there finished are returned at once, what was cut off goes on.

        Raises:
            ConfigError: ``root`` holds something made with other options, or another process is at work in it.
            MissingAssetError: PyAV is not installed.
        """
        identity = self.identity(options)
        if _is_finished(root, identity):
            return PreparedDataset(self.name, root)
        root.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(root / _LOCK, timeout=0):
                claim(root, identity)
                dataset = self._make(root, options)
                (root / CLAIM).unlink(missing_ok=True)
        except Timeout as error:
            raise ConfigError(f"Another process prepares {root}; wait for it or give another --root.") from error
        return dataset

    def _make(self, root: Path, options: AvScenesOptions) -> PreparedDataset:
        for cut_off in (root / VIDEO).glob("*/.*.mp4"):  # by a kill, in the middle of writing
            cut_off.unlink()
        plans = plan(options)
        scenes = [scene for planned in plans.values() for scene in planned]
        sounds = Sounds(options.sample_rate, options.seed)
        rows = [_row(root, scene, options, sounds) for scene in track(scenes, "videos")]
        references = [
            References(
                dataset=self.name,
                split=split,
                items=tuple(ReferenceItem(id=scene.id, references=describe(scene)) for scene in planned),
            )
            for split, planned in plans.items()
        ]
        questions = [
            Questions(dataset=self.name, split=split, items=tuple(item for scene in planned for item in ask(scene)))
            for split, planned in plans.items()
        ]
        facts = {scene.id: asdict(scene) | {"combination": scene.combination} for scene in scenes}
        write_atomic(root / SCENES_FILE, json.dumps(facts, indent=1).encode() + b"\n")
        statistics = _statistics(plans, references, questions)
        content = DatasetContent(self, options, rows, references, questions=questions, statistics=statistics)
        return write_dataset(root, content)


def _is_finished(root: Path, identity: dict[str, Any]) -> bool:
    if not (root / CARD).is_file():
        return False
    same = DatasetCard.read(root / CARD).options_sha256 == json_sha256(identity)
    wanted = sum(int(identity[split]) for split in ("train", "val", "test"))
    return same and sum(1 for _ in (root / VIDEO).glob("*/[!.]*.mp4")) == wanted


def _row(root: Path, scene: AvScene, options: AvScenesOptions, sounds: Sounds) -> ManifestRow:
    """Return the manifest's row of a clip; one that lies there was written whole and is kept."""
    place = f"{VIDEO}/{scene.split}/{scene.id}.mp4"
    if not (root / place).is_file():
        time_T = np.arange(round(options.seconds * options.frame_rate)) / options.frame_rate
        pixels_THW3 = draw(scene, options.seconds, options.side, time_T)
        write_video(root / place, pixels_THW3, time_T, sounds.render(scene, options.seconds), options.sample_rate)
    return ManifestRow(
        id=scene.id,
        path=place,
        split=scene.split,
        seconds=options.seconds,
        sample_rate=options.sample_rate,
        sha256=sha256_file(root / place),
        status="ok",
        licence=LICENCE,
    )


def _statistics(
    plans: dict[Any, list[AvScene]], references: Sequence[References], questions: Sequence[Questions]
) -> dict[str, Any]:
    """Return what the card says: how many of what, what the test set shares with train, and how balanced answers are."""
    by_split = {file.split: [words(text) for item in file.items for text in item.references] for file in references}
    return {
        "reference_origin": "template",
        "splits": {
            split: {
                "clips": len(planned),
                "held_out": sum(scene.combination == "held_out" for scene in planned),
                "dubbed": sum(scene.dubbed for scene in planned),
                "actions": dict(sorted(Counter(scene.action for scene in planned).items())),
            }
            for split, planned in plans.items()
        },
        "questions": {file.split: dict(Counter(item.category for item in file.items)) for file in questions},
        "commonest_answer": {file.split: file.commonest_answer() for file in questions},
        "leakage": {
            "graphs": share((scene.graph() for scene in plans["test"]), (scene.graph() for scene in plans["train"])),
            "references": share(by_split["test"], by_split["train"]),
        },
        "agreement": agreement(next(file for file in references if file.split == "test")),
    }
