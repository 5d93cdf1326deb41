"""One experiment from beginning to end: data, features, training, captions under every condition, scores, run card.

Every stage leaves files and starts from those that are there, so a second run begins where the caches end.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from fusion_core.backbone import Backbone
from fusion_core.errors import ConfigError, DataError
from fusion_core.files import write_atomic
from fusion_core.journal import Journal
from fusion_core.systems.base import FusionSystem
from fusion_encoders.base import FrozenEncoder
from fusion_encoders.cache import FeatureCache
from fusion_encoders.registry import load_encoder
from fusion_eval.metrics.cider_d import CiderD
from fusion_eval.schemas import Scores
from fusion_eval.tokenize import tokenize_all

from fusion_train.alignment import align
from fusion_train.captioner import Captioner
from fusion_train.card import RunFacts, write_run_card
from fusion_train.checkpoint import list_checkpoints
from fusion_train.conditions import CONDITIONS, Examination, SplitData, score_and_write, to_predictions
from fusion_train.config import DecodingSettings, RunSettings
from fusion_train.datasets.base import PreparedDataset
from fusion_train.datasets.registry import default_root, parse_options, prepare_dataset
from fusion_train.examples import CaptionedClip, TrainingExamples
from fusion_train.loop import Progress, Trainer, fit_statistics
from fusion_train.model import ADAPTER_FOLDER, SETTINGS_FILE, build_backbone, build_system, save_settings
from fusion_train.model_card import CARD_FILE as MODEL_CARD_FILE
from fusion_train.model_card import render_model_card
from fusion_train.reading import make_reader

CARD_FILE = "run_card.json"
SUBSETS_FILE = "subsets.json"
Announce = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes:
        dataset: its name.
        system: the system's name.
        settings: the run's settings.
        folder: the run directory.
        root: where the dataset is or will be prepared; None for the default.
        resume: go on with what is in ``folder``.
        command: the command line, for the run card.
    """

    dataset: str
    system: str
    settings: RunSettings
    folder: Path
    root: Path | None = None
    resume: bool = False
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What a run would do: printed by ``--dry-run``."""

    clips: int
    steps: int
    epochs: float
    effective_batch: int
    parameters: dict[str, int]
    root: Path


def new_run_folder(dataset: str, system: str) -> Path:
    """Return a run directory that does not exist yet, named after dataset, system and time."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = Path("runs") / f"{dataset}-{system}-{stamp}"
    return folder if not folder.exists() else folder.with_name(f"{folder.name}-{uuid.uuid4().hex[:4]}")


def latest_unfinished(dataset: str, system: str) -> Path:
    """Return the newest run directory of this dataset and system that has not ended.

    Raises:
        ConfigError: there is none.
    """
    folders = [path for path in Path("runs").glob(f"{dataset}-{system}-*") if (path / SETTINGS_FILE).is_file()]
    open_folders = [path for path in folders if not (path / CARD_FILE).is_file()]
    if not open_folders:
        raise ConfigError(
            f"There is no unfinished run of {system} on {dataset} under runs/; start one without --resume."
        )
    return max(open_folders, key=lambda path: path.stat().st_mtime)


class Experiment:
    """Runs one request.

    Args:
        request: what to do.
        announce: called with a sentence at the start of each stage.
    """

    def __init__(self, request: Request, announce: Announce) -> None:
        self.request = request
        self.settings = request.settings
        self.announce = announce

    def plan(self) -> Plan:
        """Check every setting, build the model, and say what a run would do; nothing is prepared or trained.

        Raises:
            ConfigError: a setting is wrong.
            MissingAssetError: weights are missing.
        """
        options = parse_options(self.request.dataset, self.settings.dataset)
        root = self.request.root or default_root(self.request.dataset, options)
        encoder = load_encoder(self.settings.encoder)
        system = build_system(self.request.system, self.settings, build_backbone(self.settings), encoder.width)
        clips = int(getattr(options, "train", 0))
        size = self.settings.batch * self.settings.accumulate
        steps = self.settings.schedule.steps
        return Plan(clips, steps, steps * size / clips if clips else 0.0, size, system.parameter_table(), root)

    def run(self) -> dict[str, Scores]:
        """Do all of it and return the scores by condition.

        Raises:
            ConfigError, DataError, MissingAssetError: as each stage says.
            Interrupted: the run was stopped; its state is saved.
        """
        folder = self.request.folder
        self._open_folder()
        lock = FileLock(folder / "run.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise ConfigError(
                f"{folder}: another process works in this run directory; wait for it or give --out."
            ) from None
        with lock:
            journal = Journal(folder / "log.jsonl")
            dataset = self._prepare(journal)
            encoder = load_encoder(self.settings.encoder)
            cache = self._encode(dataset, encoder, journal)
            backbone = build_backbone(self.settings)
            system = build_system(self.request.system, self.settings, backbone, encoder.width)
            splits = {name: self._split(dataset, name, cache) for name in ("train", "val", "test")}
            progress = self._train(backbone, system, splits, cache)
            system.save_pretrained(folder / ADAPTER_FOLDER)
            scores = self._examine(backbone, system, splits, cache)
            facts = RunFacts(
                run_id=folder.name,
                command=self.request.command,
                settings=self.settings,
                dataset=dataset,
                encoder=encoder,
                backbone=backbone,
                system=system,
                progress=progress,
                adapter=folder / ADAPTER_FOLDER,
                scores=scores,
            )
            card = write_run_card(folder / CARD_FILE, facts)
            write_atomic(folder / ADAPTER_FOLDER / MODEL_CARD_FILE, render_model_card(card, scores).encode())
            journal.write("finished", scores={name: dict(one.metrics) for name, one in scores.items()})
        return scores

    def _open_folder(self) -> None:
        """Create the run directory, or check that what is in it may be gone on with."""
        folder = self.request.folder
        content = save_settings(self.request.system, self.request.dataset, self.settings)
        path = folder / SETTINGS_FILE
        if path.is_file():
            if not self.request.resume:
                raise ConfigError(f"{folder} already holds a run; go on with --resume, or give another --out.")
            if path.read_bytes() != content:
                raise ConfigError(
                    f"{path} differs from the settings asked for; leave out --set, or give another --out."
                )
        write_atomic(path, content)

    def _prepare(self, journal: Journal) -> PreparedDataset:
        options = parse_options(self.request.dataset, self.settings.dataset)
        self.announce(f"data: {self.request.dataset}")
        dataset = prepare_dataset(self.request.dataset, options, self.request.root)
        journal.write("prepared", root=str(dataset.root), statistics=dataset.card.statistics)
        return dataset

    def _encode(self, dataset: PreparedDataset, encoder: FrozenEncoder, journal: Journal) -> FeatureCache:
        self.announce(f"features: {encoder.name}")
        cache = FeatureCache(encoder)
        usable = [row for row in dataset.manifest if row.status == "ok" and row.sha256]
        report = cache.fill((row.id, dataset.audio_path(row), str(row.sha256)) for row in usable)
        journal.write("encoded", encoded=report.encoded, cached=report.cached, quarantined=report.quarantined)
        for clip, reason in report.quarantined.items():
            self.announce(f"left out {clip}: {reason}")
        return cache

    def _split(self, dataset: PreparedDataset, name: str, cache: FeatureCache) -> SplitData:
        references = dataset.references(name)
        captions = {item.id: tuple(item.references) for item in references.items}
        rows = [row for row in dataset.rows(name) if row.status == "ok" and row.sha256 and cache.has(row.sha256)]
        clips = [CaptionedClip(row.id, str(row.sha256), captions[row.id]) for row in rows if row.id in captions]
        if not clips:
            raise DataError(
                f"{dataset.root}: split {name!r} has no usable clip with a caption; see fusion data verify."
            )
        return SplitData(name, clips, references, dataset.events(name))

    def _train(
        self, backbone: Backbone, system: FusionSystem, splits: dict[str, SplitData], cache: FeatureCache
    ) -> Progress:
        prompt = system.prompt(backbone)
        examples = TrainingExamples(splits["train"].clips, backbone, prompt, cache.get, self.settings.seed)
        size = self.settings.batch * self.settings.accumulate
        if examples.batches_an_epoch(size) < 1:
            raise ConfigError(
                f"batch x accumulate is {size}, more than the {len(examples.clips)} training clips; lower it."
            )
        fit_statistics(system, examples)
        captioner = Captioner(backbone, system, prompt)
        evaluate = make_validation(captioner, splits["val"], cache, self.settings)
        reader = make_reader(backbone, system, prompt, self.settings)
        trainer = Trainer(backbone, system, examples, evaluate, self.settings, self.request.folder, reader)
        if self.request.resume and list_checkpoints(trainer.checkpoints):
            self.announce(f"train: taken up again at step {trainer.resume()}")
        else:
            self._align(system, backbone, examples, trainer.journal)
            self.announce(f"train: {self.request.system}, {sum(system.parameter_table().values()):,} parameters")
        return trainer.train()

    def _align(self, system: FusionSystem, backbone: Backbone, examples: TrainingExamples, journal: Journal) -> None:
        if self.settings.alignment.steps:
            self.announce("aligned start: what the audio adds is fitted to the captions' embeddings")
            before, after = align(system, backbone, examples, self.settings.alignment)
            journal.write("aligned", steps=self.settings.alignment.steps, cosine_before=before, cosine_after=after)

    def _examine(
        self, backbone: Backbone, system: FusionSystem, splits: dict[str, SplitData], cache: FeatureCache
    ) -> dict[str, Scores]:
        self.announce(f"captions and scores: {', '.join(CONDITIONS)}")
        test = splits["test"]
        captioner = Captioner(backbone, system, system.prompt(backbone))
        examination = Examination(captioner, cache.get, self.settings.decoding, self.settings.seed)
        scores = {}
        for condition, captions in examination.captions(splits["train"].clips, splits["val"].clips, test.clips):
            run_id = self.request.folder.name
            predictions = to_predictions(test, self.request.system, run_id, condition, captions)
            scores[condition] = score_and_write(self.request.folder, condition, predictions, test)
        write_atomic(self.request.folder / SUBSETS_FILE, json.dumps(_subsets(test), indent=1).encode())
        return scores


def make_validation(
    captioner: Captioner, val: SplitData, cache: FeatureCache, settings: RunSettings
) -> Callable[[], float]:
    """Return a function that captions the first clips of val greedily and returns CIDEr-D."""
    clips = list(val.clips)[: settings.evaluation.clips]
    greedy: DecodingSettings = settings.decoding.model_copy(update={"beams": 1, "batch": 64})
    metric = CiderD([tokenize_all(clip.references) for clip in clips])

    def evaluate() -> float:
        found = captioner.caption_all([clip.sha256 for clip in clips], cache.get, greedy)
        return float(metric.score(tokenize_all(candidates[0].text for candidates in found)).mean())

    return evaluate


def _subsets(split: SplitData) -> dict[str, list[str]]:
    """Return the clip ids of each kind of combination; empty where no event graph says."""
    subsets: dict[str, list[str]] = {}
    for item in split.events.items if split.events else ():
        subsets.setdefault(item.combination, []).append(item.id)
    return subsets


def plan_as_dict(plan: Plan) -> dict[str, Any]:
    """Return a plan in JSON's types."""
    return {**vars(plan), "root": str(plan.root), "total_parameters": sum(plan.parameters.values())}
