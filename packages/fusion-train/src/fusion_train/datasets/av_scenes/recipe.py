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
from fusion_train.datasets.base import VIDEO, DatasetContent, PreparedDataset, write_dataset
from fusion_train.datasets.making import make_once
from fusion_train.datasets.scenes.leakage import agreement, share, words

VERSION = 2
"""Counts up whenever the same options give other clips."""
SCENES_FILE = "scenes.json"
LICENCE = "CC0-1.0"


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
            ConfigError: ``root`` holds something made with other options.
            MissingAssetError: PyAV is not installed.
        """
        clips = options.train + options.val + options.test
        identity = self.identity(options)
        return make_once(self.name, root, identity, lambda: _is_whole(root, clips), lambda: self._make(root, options))

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


def _is_whole(root: Path, clips: int) -> bool:
    """Say whether all clips lie in a folder; hidden ones were cut off by a kill."""
    return sum(1 for _ in (root / VIDEO).glob("*/[!.]*.mp4")) == clips


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
