"""Make the scenes of a dataset: plan, render, annotate, measure, seal."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fusion_core.journal import Journal
from fusion_eval.files import write_atomic
from fusion_eval.schemas import ManifestRow, ReferenceItem, References, SceneEvents
from fusion_train.datasets.base import AUDIO, DatasetContent, DatasetRecipe, PreparedDataset, write_dataset
from fusion_train.datasets.scenes.annotate import annotate
from fusion_train.datasets.scenes.bank import Bank, SynthesisedBank
from fusion_train.datasets.scenes.graph import Scene
from fusion_train.datasets.scenes.leakage import agreement, leakage, words
from fusion_train.datasets.scenes.options import ScenesOptions, Split
from fusion_train.datasets.scenes.plan import Planner
from fusion_train.datasets.scenes.render import Renderer, render_all
from fusion_train.datasets.scenes.vocabulary import lexicon

SOURCES = "sources.json"
"""Which sounds, with which parameters or credits, each clip is made of."""

LISTING = "bank.csv"
"""Every recording of the bank that is used, with its split and its credits."""

JOURNAL = "prepare.jsonl"
_STORE = Path(".bank", "samples.npy")


def make(recipe: DatasetRecipe[ScenesOptions], root: Path, options: ScenesOptions) -> PreparedDataset:
    """Make the scenes in ``root``; clips that lie there from an earlier run with the same options are kept.

    Raises:
        DataError: the bank is malformed or too small, or train is too small for the test set.
    """
    journal = Journal(root / JOURNAL)
    journal.write("start", options=recipe.identity(options))
    bank = _bank(root, options)
    plans = Planner(options, bank).plan()
    scenes = [scene for planned in plans.values() for scene in planned]
    phrases = lexicon(sorted({event.sound_class for scene in scenes for event in scene.events}))
    references = [_references(recipe.name, split, planned, options.seed) for split, planned in plans.items()]
    events = [
        SceneEvents(dataset=recipe.name, split=split, lexicon=phrases, items=tuple(scene.item() for scene in planned))
        for split, planned in plans.items()
    ]
    journal.write("planned", scenes=len(scenes))
    rows = render_all(Renderer(root, bank, options.sample_rate, options.seed), scenes, options.workers)
    journal.write("rendered", clips=len(rows))
    for unfinished in (root / AUDIO).glob("*/.*"):  # what a killed process was writing
        unfinished.unlink()
    write_atomic(root / SOURCES, _sources(scenes))
    if bank.listing():
        write_atomic(root / LISTING, _csv(bank.listing()))
    statistics = describe(bank, plans, rows, references)
    dataset = write_dataset(root, DatasetContent(recipe, options, rows, references, events, statistics))
    shutil.rmtree(root / _STORE.parent, ignore_errors=True)
    journal.write("finished", manifest_sha256=dataset.card.manifest_sha256)
    return dataset


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
    return statistics | ({"left_out": dict(bank.left_out)} if bank.left_out else {})


def _bank(root: Path, options: ScenesOptions) -> Bank:
    if options.bank is None:
        return SynthesisedBank(options.sample_rate, options.seed)
    from fusion_train.datasets.scenes.recorded_bank import load_bank

    return load_bank(options.bank, root / _STORE, options.sample_rate, options.minimum_recordings)


def _references(dataset: str, split: Split, scenes: Sequence[Scene], seed: int) -> References:
    items = tuple(ReferenceItem(id=scene.id, references=annotate(scene, seed)) for scene in scenes)
    return References(dataset=dataset, split=split, items=items)


def _sources(scenes: Sequence[Scene]) -> bytes:
    content = {
        scene.id: [{"sound_class": event.sound_class, **event.source.details} for event in scene.events]
        for scene in scenes
    }
    return json.dumps(content, ensure_ascii=False, indent=1).encode() + b"\n"


def _csv(rows: Sequence[dict[str, str]]) -> bytes:
    """Return rows as a CSV file; the columns are those of a bank's list, so that the splits can be used elsewhere."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _split_statistics(split: Split, scenes: Sequence[Scene], rows: Sequence[ManifestRow]) -> dict[str, Any]:
    classes = Counter(event.sound_class for scene in scenes for event in scene.events)
    return {
        "clips": len(scenes),
        "hours": sum(row.seconds or 0 for row in rows if row.split == split) / 3600,
        "held_out": sum(scene.combination == "held_out" for scene in scenes),
        "events": dict(sorted(classes.items())),
    }
