"""The dataset ``visual-questions``: a retention probe of procedural images with balanced questions, and of text-only ones.

<root>/probe.jsonl     the questions, in an order that mixes the kinds
<root>/images/…        one PNG a visual question, so no two questions share an image
<root>/manifest.parquet, dataset.json    as in every prepared dataset; the card has the probe's hash, and the list is locked by it
"""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

from fusion_core.errors import ConfigError
from fusion_core.files import sha256_file
from fusion_core.progress import track
from fusion_encoders.images import save_image
from fusion_eval.schemas import ManifestRow
from pydantic import BaseModel, ConfigDict, Field

from fusion_train.datasets.base import (
    CARD,
    IMAGES,
    DatasetCard,
    DatasetContent,
    PreparedDataset,
    json_sha256,
    write_dataset,
)
from fusion_train.retention_probe import PROBE_FILE, Probe, ProbeItem, load_probe, write_probe
from fusion_train.text_questions import text_questions
from fusion_train.visual_questions import CATEGORIES, Split, VisualQuestion, VisualScene, example, render

VERSION = 1
"""Counts up whenever the same options give other questions or pixels."""


class VisualQuestionsOptions(BaseModel):
    """The options of the dataset ``visual-questions``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=0, ge=0, description="Seed of the scenes and questions.")
    split: Split = Field(
        default="test", description="Whose scenes: a backbone that learned to see them saw those of train."
    )
    questions: int = Field(default=830, ge=6, description="Visual questions, equally many of each kind.")
    text_questions: bool = Field(default=True, description="Whether the 170 questions without an image come with them.")
    size: int = Field(default=224, ge=16, le=512, description="Pixels a side of an image.")


class VisualQuestionsRecipe:
    """Makes the images and the list of questions."""

    name = "visual-questions"
    options_type = VisualQuestionsOptions

    def identity(self, options: VisualQuestionsOptions) -> dict[str, Any]:
        """Return the options and the version of the generator."""
        return options.model_dump(mode="json") | {"version": VERSION}

    def prepare(self, root: Path, options: VisualQuestionsOptions) -> PreparedDataset:
        """Make the probe in ``root``; the one that lies there finished is returned at once.

        Raises:
            ConfigError: ``root`` holds a probe made with other options.
        """
        if is_locked(root, self.name, self.identity(options)):
            return PreparedDataset(self.name, root)
        items, rows = [], []
        for place in track(range(options.questions), "images"):
            name, scene, question = _question(options, place)
            image = f"{name}.png"
            save_image(root / IMAGES / image, render(scene, options.size))
            items.append(_item(name, image, question))
            digest = sha256_file(root / IMAGES / image)
            rows.append(ManifestRow(id=name, path=f"{IMAGES}/{image}", split=options.split, sha256=digest, status="ok"))
        items += text_questions() if options.text_questions else ()
        write_probe(root / PROBE_FILE, sorted(items, key=_mixed))
        statistics = probe_statistics(load_probe(root))
        return write_dataset(root, DatasetContent(self, options, rows, statistics=statistics))


def is_locked(root: Path, name: str, identity: dict[str, Any]) -> bool:
    """Say whether a folder holds the probe of an identity already.

    Raises:
        ConfigError: it holds another one: a list of questions that results were reported on is never replaced.
    """
    if not (root / CARD).is_file():
        return False
    card = DatasetCard.read(root / CARD)
    if card.name != name or card.options_sha256 != json_sha256(identity):
        raise ConfigError(
            f"{root} holds a list that is locked ({card.name}, {card.options_sha256[:8]}…), and this is another selection; "
            "name it anew by another --root."
        )
    return True


def probe_statistics(probe: Probe) -> dict[str, Any]:
    """Return what the card says of a probe: its hash, and the number of questions of each kind and answer."""
    kinds = Counter(item.category for item in probe.items)
    answers: dict[str, Counter[str]] = {}
    for item in probe.items:
        if item.options:
            answers.setdefault(item.category, Counter())[item.answer] += 1
    return {
        "probe_sha256": probe.sha256,
        "questions": dict(sorted(kinds.items())),
        "answers": {kind: dict(sorted(found.items())) for kind, found in sorted(answers.items()) if len(found) <= 8},
    }


def _question(options: VisualQuestionsOptions, place: int) -> tuple[str, VisualScene, VisualQuestion]:
    """Return the question of a place, with its scene: of each kind in turn, from the first scene that allows it."""
    kind = CATEGORIES[place % len(CATEGORIES)]
    index = place
    while True:
        scene, questions = example(options.split, options.seed, index)
        for question in questions:
            if question.category == kind:
                return f"{kind}-{index:05d}", scene, question
        index += options.questions


def _item(name: str, image: str, question: VisualQuestion) -> ProbeItem:
    return ProbeItem(
        question_id=name,
        image=image,
        text=question.text,
        category=question.category,
        answer=question.answer,
        options=question.options,
    )


def _mixed(item: ProbeItem) -> str:
    """Return a key that mixes the kinds, so that the first questions of a probe are a fair part of it."""
    return hashlib.sha256(item.question_id.encode()).hexdigest()
