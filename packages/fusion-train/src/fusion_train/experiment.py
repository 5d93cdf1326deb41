"""One experiment from beginning to end: data, features, training by phases, captions under every condition, scores, run cards.

Every stage leaves files and starts from those that are there, so a second run begins where the caches end. Self-critical
training is a second phase with a run directory of its own, ``scst`` in the first one's: two rows, two run cards.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from filelock import FileLock, Timeout
from fusion_core.device import default_device
from fusion_core.errors import ConfigError, FusionError
from fusion_core.files import write_atomic
from fusion_core.journal import Journal
from fusion_eval.schemas import Scores
from safetensors.torch import load

from fusion_train.alignment import align
from fusion_train.audio_text import add_similarity, similarity_at_hand
from fusion_train.captioner import Captioner
from fusion_train.card import CARD_FILE, RunFacts, write_run_card
from fusion_train.checkpoint import list_checkpoints
from fusion_train.conditions import CONDITIONS, Examination, SplitData, score_and_write, to_predictions
from fusion_train.config import RunSettings
from fusion_train.contingency import fewer_tokens, remember_tokens
from fusion_train.examples import TrainingExamples
from fusion_train.judging import Validation
from fusion_train.learner import Learner
from fusion_train.loop import BEST_FILE, SCST_FOLDER, Progress, Trainer, journal_name, run_name
from fusion_train.materials import Materials, gather_materials
from fusion_train.model import ADAPTER_FOLDER, SETTINGS_FILE, build_system, save_settings
from fusion_train.model_card import CARD_FILE as MODEL_CARD_FILE
from fusion_train.model_card import render_model_card
from fusion_train.phases import contrastive_addition, cross_entropy_phase, self_critical_phase
from fusion_train.reading import make_reader
from fusion_train.retention import choose_probe
from fusion_train.retention_log import RetentionLog
from fusion_train.retention_sounds import Clips, distractors_of
from fusion_train.statistics import fit_statistics
from fusion_train.stopping import Diverged
from fusion_train.trackers import require_tracker
from fusion_train.validation import make_validation

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
        trackers: where the log's values go beside the log.
    """

    dataset: str
    system: str
    settings: RunSettings
    folder: Path
    root: Path | None = None
    resume: bool = False
    command: tuple[str, ...] = ()
    trackers: tuple[str, ...] = ()


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
    """Runs one request, in one process or in several that share each step.

    Args:
        request: what to do.
        announce: called with a sentence at the start of each stage, in the process that writes.
    """

    def __init__(self, request: Request, announce: Announce) -> None:
        self.request = request
        self.settings = request.settings
        self._announce = announce

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes; known while it runs and after."""
        return bool(self.accelerator.is_main_process)

    def run(self) -> dict[str, dict[str, Scores]]:
        """Do all of it and return the scores by phase and condition.

        Raises:
            ConfigError, DataError, MissingAssetError: as each stage says.
            Interrupted: the run was stopped; its state is saved.
            Diverged: training diverged, and no contingency helped.
        """
        for name in self.request.trackers:
            require_tracker(name)
        self.accelerator = Accelerator(cpu=default_device().type == "cpu")
        folder = self.request.folder
        is_new = False
        with ExitStack() as stack:
            if self.accelerator.is_main_process:
                is_new = self._open_folder()
                stack.enter_context(self._lock())
            self.accelerator.wait_for_everyone()
            journal = Journal(folder / journal_name(self.accelerator))
            materials = self._gather(journal, is_new)
            found = {"xe": self._cross_entropy(materials, journal)}
            if self._goes_on(folder):
                found["scst"] = self._self_critical(materials)
        return found

    def _gather(self, journal: Journal, is_new: bool) -> Materials:
        """Prepare dataset, features and backbone; where that is refused, a new run directory is given up again."""
        try:
            with self.accelerator.main_process_first():
                return self._materials(journal)
        except FusionError:
            if is_new:  # there is nothing to go on with, so the same command may be given again
                (self.request.folder / SETTINGS_FILE).unlink()
            raise

    def _materials(self, journal: Journal) -> Materials:
        return gather_materials(self.request.dataset, self.settings, self.request.root, self.announce, journal)

    def announce(self, sentence: str) -> None:
        """Say what begins, in the process that writes."""
        if self.writes:
            self._announce(sentence)

    def _lock(self) -> FileLock:
        """Take the run directory for this process.

        Raises:
            ConfigError: another process works in it.
        """
        lock = FileLock(self.request.folder / "run.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise ConfigError(
                f"{self.request.folder}: another process works in this run directory; wait for it or give --out."
            ) from None
        return lock

    def _open_folder(self) -> bool:
        """Create the run directory, or check that what is in it may be gone on with; return whether it is new."""
        folder = self.request.folder
        content = save_settings(self.request.system, self.request.dataset, self.settings)
        path = folder / SETTINGS_FILE
        if not path.is_file():
            write_atomic(path, content)
            return True
        if not self.request.resume:
            raise ConfigError(f"{folder} already holds a run; go on with --resume, or give another --out.")
        # A finished first phase may be followed by self-critical training that was not asked for at first.
        free = {"scst"} if (folder / CARD_FILE).is_file() else set[str]()
        if _settings_of(path.read_bytes(), free) != _settings_of(content, free):
            raise ConfigError(f"{path} differs from the settings asked for; leave out --set, or give another --out.")
        return False

    def _goes_on(self, folder: Path) -> bool:
        """Say whether self-critical training follows."""
        start = self.settings.scst.start
        if start == "plateau":
            events = Journal(folder / "log.jsonl").read()
            return any(event["event"] == "evaluated" and event["stopped_early"] for event in events)
        return start == "always"

    def _cross_entropy(self, materials: Materials, journal: Journal) -> dict[str, Scores]:
        """Train by cross-entropy; where that diverges for good, once more with fewer audio tokens."""
        folder = self.request.folder
        settings = fewer_tokens(self.settings, folder)
        if settings is self.settings:
            try:
                return self._first_phase(materials, settings)
            except Diverged as reason:
                settings = remember_tokens(self.settings, folder, self.request.system, reason, journal)
                self.learner.system.detach()
        return self._first_phase(materials, settings)

    def _first_phase(self, materials: Materials, settings: RunSettings) -> dict[str, Scores]:
        folder = self.request.folder
        self.learner = self._learner(materials, settings)
        if (folder / CARD_FILE).is_file():  # taken up again in the second phase
            self.learner.system.load_state_dict(load((folder / BEST_FILE).read_bytes()))
            return {}
        additions = contrastive_addition(self.learner, settings)
        validation = self._validation(materials, settings)
        trainer = cross_entropy_phase(self.learner, validation, settings, folder, additions, self.request.trackers)
        self._watch_retention(trainer, materials, settings)
        if self.request.resume and list_checkpoints(trainer.checkpoints):
            self.announce(f"train: taken up again at step {trainer.resume()}")
        else:
            self._begin(trainer, materials, settings)
            self.announce(
                f"train: {self.request.system}, {sum(self.learner.system.parameter_table().values()):,} parameters"
            )
        return self._finish(materials, trainer, folder, settings, trainer.train())

    def _self_critical(self, materials: Materials) -> dict[str, Scores]:
        """Train on from the best weights of the first phase, in a run directory inside the first one's."""
        folder = self.request.folder / SCST_FOLDER
        settings = fewer_tokens(self.settings, self.request.folder)
        if self.accelerator.is_main_process:
            write_atomic(folder / SETTINGS_FILE, save_settings(self.request.system, self.request.dataset, settings))
        validation = self._validation(materials, settings)
        trainer = self_critical_phase(self.learner, validation, settings, folder, self.request.trackers)
        self._watch_retention(trainer, materials, settings)
        if self.request.resume and list_checkpoints(trainer.checkpoints):
            self.announce(f"self-critical training: taken up again at step {trainer.resume()}")
        else:
            start = trainer.judge()
            facts = {validation.metric: start}
            trainer.journal.write("started", from_weights=str(self.request.folder / BEST_FILE), **facts)
            self.announce(f"self-critical training: from {validation.label} {start:.3f}")
        return self._finish(materials, trainer, folder, settings, trainer.train())

    def _learner(self, materials: Materials, settings: RunSettings) -> Learner:
        backbone = materials.backbone
        system = build_system(self.request.system, settings, backbone, materials.encoder.width)
        prompt = system.prompt(backbone)
        examples = TrainingExamples(
            materials.splits["train"].clips, backbone, prompt, materials.cache.get, settings.seed
        )
        self._require_enough(examples, settings)
        reader = make_reader(backbone, system, prompt, settings)
        return Learner(backbone, system, examples, reader, self.accelerator, settings.batch)

    def _require_enough(self, examples: TrainingExamples, settings: RunSettings) -> None:
        size = settings.batch * settings.accumulate
        if examples.batches_an_epoch(size) < 1:
            raise ConfigError(
                f"batch x accumulate is {size}, more than the {len(examples.clips)} training clips; lower it."
            )

    def _validation(self, materials: Materials, settings: RunSettings) -> Validation:
        learner = self.learner
        captioner = Captioner(learner.backbone, learner.system, learner.examples.prompt)
        clips = list(materials.splits["val"].clips)[: settings.evaluation.clips]
        return make_validation(captioner, clips, materials.features, settings.decoding, self.accelerator)

    def _watch_retention(self, trainer: Trainer, materials: Materials, settings: RunSettings) -> None:
        """Ask a probe at evaluations, where the settings want it."""
        wanted = settings.evaluation.retention
        if wanted is None or not self.writes:
            return
        learner = self.learner
        probe = choose_probe(wanted.probe, learner.backbone).first(wanted.items)
        clips = self._distractors(materials)
        log = RetentionLog(learner.backbone, learner.system, probe, clips, trainer.folder, wanted.every)
        trainer.observers.append(log.measure)

    def _distractors(self, materials: Materials) -> Clips:
        return distractors_of(materials.dataset, materials.encoder).clips

    def _begin(self, trainer: Trainer, materials: Materials, settings: RunSettings) -> None:
        """Fit what is fitted before the first step."""
        fit_statistics(self.learner.system, self.learner.examples)
        if settings.alignment.steps:
            self.announce("aligned start: what the audio adds is fitted to the captions' embeddings")
            learner = self.learner
            before, after = align(learner.system, learner.backbone, learner.examples, settings.alignment)
            trainer.journal.write("aligned", steps=settings.alignment.steps, cosine_before=before, cosine_after=after)

    def _finish(
        self, materials: Materials, trainer: Trainer, folder: Path, settings: RunSettings, progress: Progress
    ) -> dict[str, Scores]:
        """Save the adapter, caption the test set under every condition and write the cards; in one process."""
        scores: dict[str, Scores] = {}
        if self.accelerator.is_main_process:
            system = self.learner.system
            system.save_pretrained(folder / ADAPTER_FOLDER)
            scores = self._examine(materials, folder, settings)
            facts = RunFacts(
                run_id=run_name(folder),
                command=self.request.command,
                settings=settings,
                dataset=materials.dataset,
                encoder=materials.encoder,
                backbone=materials.backbone,
                system=system,
                modules=trainer.modules,
                objectives=tuple(objective.name for objective in trainer.objectives),
                progress=progress,
                selection=trainer.validation.described,
                adapter=folder / ADAPTER_FOLDER,
                encoders=materials.by_modality,
                init_sha256=materials.adapter_sha256,
                scores=scores,
            )
            card = write_run_card(folder / CARD_FILE, facts)
            write_atomic(folder / ADAPTER_FOLDER / MODEL_CARD_FILE, render_model_card(card, scores).encode())
            trainer.journal.write("finished", scores={name: dict(one.metrics) for name, one in scores.items()})
        self.accelerator.wait_for_everyone()
        return scores

    def _examine(self, materials: Materials, folder: Path, settings: RunSettings) -> dict[str, Scores]:
        self.announce(f"captions and scores: {', '.join(CONDITIONS)}")
        train, val, test = (materials.splits[name] for name in ("train", "val", "test"))
        learner = self.learner
        captioner = Captioner(learner.backbone, learner.system, learner.examples.prompt)
        examination = Examination(captioner, materials.cache.get, settings.decoding, settings.seed)
        run_id = run_name(folder)
        similarity = similarity_at_hand(materials.dataset, materials.encoder)
        scores = {}
        for condition, captions in examination.captions(train.clips, val.clips, test.clips):
            predictions = to_predictions(test, self.request.system, run_id, condition, captions)
            if condition == "audio" and similarity is not None:
                predictions = add_similarity(predictions, similarity, materials.features_by_id(test))
            scores[condition] = score_and_write(folder, condition, predictions, test)
        predictions = to_predictions(val, self.request.system, run_id, "audio", examination.own_audio(val.clips))
        if similarity is not None:
            predictions = add_similarity(predictions, similarity, materials.features_by_id(val))
        score_and_write(folder, "val", predictions, val)
        write_atomic(folder / SUBSETS_FILE, json.dumps(_subsets(test), indent=1).encode())
        return scores


def _settings_of(content: bytes, free: set[str]) -> dict[str, Any]:
    """Return what ``settings.json`` says, without the sections that may differ."""
    found: dict[str, Any] = json.loads(content)
    kept = {name: section for name, section in found["settings"].items() if name not in free}
    return {**found, "settings": kept}


def _subsets(split: SplitData) -> dict[str, list[str]]:
    """Return the clip ids of each kind of combination; empty where no event graph says."""
    subsets: dict[str, list[str]] = {}
    for item in split.events.items if split.events else ():
        subsets.setdefault(item.combination, []).append(item.id)
    return subsets
