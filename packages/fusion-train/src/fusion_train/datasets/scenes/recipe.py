"""The dataset ``scenes``: plan, render, annotate, measure, seal."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from fusion_core.errors import ConfigError
from fusion_core.files import write_atomic
from fusion_core.journal import Journal
from fusion_eval.schemas import ManifestRow, ReferenceItem, References, SceneEvents
from fusion_train.datasets.base import (
    CARD,
    MANIFEST,
    DatasetCard,
    DatasetContent,
    PreparedDataset,
    json_sha256,
    write_dataset,
)
from fusion_train.datasets.scenes.annotate import annotate
from fusion_train.datasets.scenes.bank import Bank, SynthesisedBank
from fusion_train.datasets.scenes.graph import Scene
from fusion_train.datasets.scenes.leakage import agreement, leakage, words
from fusion_train.datasets.scenes.options import ScenesOptions, Split
from fusion_train.datasets.scenes.plan import Planner
from fusion_train.datasets.scenes.recordings import bank_sha256
from fusion_train.datasets.scenes.render import Renderer, render_all
from fusion_train.datasets.scenes.vocabulary import lexicon

VERSION = 1
"""Counts up whenever the same options give other bytes."""

CLAIM = ".preparing.json"
SOURCES = "sources.json"
JOURNAL = "prepare.jsonl"
_STORE = Path(".bank", "samples.npy")
_LOCK = ".lock"


class ScenesRecipe:
    """Prepares composed scenes, from synthesised sounds or from a bank of recordings."""

    name = "scenes"
    options_type = ScenesOptions

    def identity(self, options: ScenesOptions) -> dict[str, Any]:
        """Return the options with the bank's hash in place of its path, and the version of the recipe.

        Raises:
            DataError: the bank has no list.
        """
        content = options.model_dump(mode="json", exclude={"workers"})
        bank = None if options.bank is None else bank_sha256(options.bank)
        return content | {"bank": bank, "version": VERSION}

    def prepare(self, root: Path, options: ScenesOptions) -> PreparedDataset:
        """Make the scenes in ``root``; one that lies there finished is returned at once, one that was cut off goes on.

        Raises:
            ConfigError: ``root`` holds something made with other options, or another process is at work in it.
            DataError: the bank is malformed or too small.
        """
        identity = self.identity(options)
        if is_finished(root, identity):
            return PreparedDataset(self.name, root)
        root.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(root / _LOCK, timeout=0):
                claim(root, identity)
                return self._make(root, options)
        except Timeout as error:
            raise ConfigError(f"Another process prepares {root}; wait for it or give another --root.") from error

    def _make(self, root: Path, options: ScenesOptions) -> PreparedDataset:
        journal = Journal(root / JOURNAL)
        journal.write("start", options=self.identity(options))
        bank = _bank(root, options)
        plans = Planner(options, bank).plan()
        scenes = [scene for split in plans.values() for scene in split]
        journal.write("planned", scenes=len(scenes))
        rows = render_all(Renderer(root, bank, options.sample_rate, options.seed), scenes, options.workers)
        journal.write("rendered", clips=len(rows))
        references = [_references(split, items, options.seed) for split, items in plans.items()]
        phrases = lexicon(sorted({event.sound_class for scene in scenes for event in scene.events}))
        events = [
            SceneEvents(dataset=self.name, split=split, lexicon=phrases, items=tuple(scene.item() for scene in items))
            for split, items in plans.items()
        ]
        write_atomic(root / SOURCES, _sources(scenes))
        statistics = describe(bank, plans, rows, references)
        dataset = write_dataset(root, DatasetContent(self, options, rows, references, events, statistics))
        shutil.rmtree(root / _STORE.parent, ignore_errors=True)
        (root / CLAIM).unlink(missing_ok=True)
        journal.write("finished", manifest_sha256=dataset.card.manifest_sha256)
        return dataset


def is_finished(root: Path, identity: dict[str, Any]) -> bool:
    """Say whether the dataset with this identity lies finished in a folder."""
    if not (root / CARD).is_file() or not (root / MANIFEST).is_file():
        return False
    return DatasetCard.read(root / CARD).options_sha256 == json_sha256(identity)


def claim(root: Path, identity: dict[str, Any]) -> None:
    """Write down what is being made in a folder.

    Raises:
        ConfigError: the folder holds a dataset, finished or not, that was made with other options.
    """
    found: dict[str, Any] = {}
    if (root / CARD).is_file():
        found = DatasetCard.read(root / CARD).options
    elif (root / CLAIM).is_file():
        found = json.loads((root / CLAIM).read_text(encoding="utf-8"))
    different = sorted(name for name in identity if found and found.get(name) != identity[name])
    if different:
        listed = ", ".join(f"{name} {found.get(name)} -> {identity[name]}" for name in different)
        raise ConfigError(f"{root} holds scenes made with other options ({listed}); give another --root or delete it.")
    write_atomic(root / CLAIM, json.dumps(identity, sort_keys=True, indent=1).encode())


def describe(
    bank: Bank, plans: dict[Split, list[Scene]], rows: Sequence[ManifestRow], references: Sequence[References]
) -> dict[str, Any]:
    """Return what the card says of the scenes: classes, splits, leakage, agreement, captions."""
    by_split = {file.split: file for file in references}
    lengths = [len(words(text)) for file in references for item in file.items for text in item.references]
    statistics: dict[str, Any] = {
        "reference_origin": "template",
        "bank": bank.statistics(),
        "splits": {split: _split_statistics(split, scenes, rows) for split, scenes in plans.items()},
        "leakage": leakage(plans["train"], plans["test"], references),
        "agreement": agreement(by_split["test"]),
        "caption_words": {"minimum": min(lengths), "mean": sum(lengths) / len(lengths), "maximum": max(lengths)},
    }
    left_out = getattr(bank, "left_out", None)
    return statistics | ({"left_out": left_out} if left_out else {})


def _bank(root: Path, options: ScenesOptions) -> Bank:
    if options.bank is None:
        return SynthesisedBank(options.sample_rate, options.seed)
    from fusion_train.datasets.scenes.recorded_bank import load_bank

    return load_bank(options.bank, root / _STORE, options.sample_rate, options.minimum_recordings)


def _references(split: Split, scenes: Sequence[Scene], seed: int) -> References:
    items = tuple(ReferenceItem(id=scene.id, references=annotate(scene, seed)) for scene in scenes)
    return References(dataset=ScenesRecipe.name, split=split, items=items)


def _sources(scenes: Sequence[Scene]) -> bytes:
    """Return which sounds, with which parameters or credits, each clip is made of."""
    content = {
        scene.id: [{"sound_class": event.sound_class, **event.source.details} for event in scene.events]
        for scene in scenes
    }
    return json.dumps(content, ensure_ascii=False, indent=1).encode() + b"\n"


def _split_statistics(split: Split, scenes: Sequence[Scene], rows: Sequence[ManifestRow]) -> dict[str, Any]:
    classes = Counter(event.sound_class for scene in scenes for event in scene.events)
    return {
        "clips": len(scenes),
        "hours": sum(row.seconds or 0 for row in rows if row.split == split) / 3600,
        "held_out": sum(scene.combination == "held_out" for scene in scenes),
        "events": dict(sorted(classes.items())),
    }
