"""Carrying out the runs of a study: training each from its parent, measuring what is finished, and keeping the results."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from fusion_core.allocation import keep_freed_memory
from fusion_core.errors import FusionError, GateFailedError, MissingAssetError
from fusion_core.files import write_atomic
from fusion_encoders.registry import load_encoder
from fusion_eval.errors import FusionError as ScoringError
from fusion_eval.errors import MissingAssetError as MissingTool
from fusion_eval.schemas import Predictions, RunCard
from fusion_eval.schemas.questions import ModalityScores
from fusion_eval.schemas.study import Measure

from fusion_train.config import choose_modalities
from fusion_train.datasets.base import PreparedDataset
from fusion_train.datasets.registry import dataset_names, parse_options, prepare_dataset
from fusion_train.experiment import Experiment, Request
from fusion_train.modal_conditions import MODALITIES_FILE
from fusion_train.modal_experiment import ModalExperiment
from fusion_train.run_flops import run_flops
from fusion_train.sanity import check_sanity, failed, plan_for
from fusion_train.stopping import Interrupted
from fusion_train.study.config import Study
from fusion_train.study.kept import KeptResults
from fusion_train.study.measures import measure_rerank, measure_retention
from fusion_train.study.plan import VIDEO_MODALITIES, Plan, PlannedRun
from fusion_train.study.workspace import RUN_CARD, Failure, Workspace

Announce = Callable[[str], None]
SANITY_FILE = "sanity.json"


@dataclass(frozen=True)
class Bench:
    """Where a run is carried out.

    Attributes:
        plan: the whole plan.
        work: the working folder.
        kept: the kept results.
        announce: called with a sentence at each stage.
    """

    plan: Plan
    work: Workspace
    kept: KeptResults
    announce: Announce

    @property
    def study(self) -> Study:
        """The study's configuration."""
        return self.plan.study

    def folder(self, run: PlannedRun) -> Path:
        """Return a run's directory."""
        return self.work.folder(self.plan, run)


def carry_out(bench: Bench, run: PlannedRun) -> None:
    """Train a run where its directory is unfinished, and keep what it said.

    Raises:
        Interrupted: it was asked to stop; its state is saved.
        FusionError: it cannot be done.
    """
    torch.set_num_threads(bench.study.threads)
    keep_freed_memory()
    folder = bench.folder(run)
    if not (folder / (SANITY_FILE if run.stage == "sanity" else RUN_CARD)).is_file():
        TRAINERS[run.stage](bench, run)
    if bench.study.flops and run.stage in ("xe", "scst"):
        _count_flops(folder / RUN_CARD, run)
    if bench.kept.find(run) is not None and _same_weights(folder, bench.kept.folder(run.name)):
        bench.kept.give_back(run.name, folder)
    else:
        _keep(bench, run, {})


def measure(bench: Bench, runs: Sequence[PlannedRun]) -> None:
    """Measure what is missing on finished runs of one chain, and keep it.

    Raises:
        Interrupted: it was asked to stop; what was measured is kept.
    """
    for name in MEASURES:
        lacking = [run for run in runs if name in run.measures and _lacks(bench, run, name)]
        if lacking:
            _measure(bench, name, lacking)


def _lacks(bench: Bench, run: PlannedRun, name: str) -> bool:
    entry = bench.kept.find(run)
    return entry is None or not entry.has_measure(name, run.measures[name])


def _count_flops(path: Path, run: PlannedRun) -> None:
    """Write into a run card what a clip costs in FLOPs; where the backbone has no outline, the card stays as it is."""
    card = RunCard.read(path)
    if card.cost.flops is not None:
        return
    try:
        counted = run_flops(run.system, run.settings, load_encoder(run.settings.encoder).width)
    except FusionError:
        return
    flops = {stage: float(count) for stage, count in counted.items()}
    card.model_copy(update={"cost": card.cost.model_copy(update={"flops": flops})}).write(path)


def _measure(bench: Bench, name: str, runs: Sequence[PlannedRun]) -> None:
    """Measure one thing on some runs; where that fails they stay done, and the measure is named with its reason.

    Where several fail together, each is tried alone, so that one cannot spoil the others.
    """
    bench.announce(f"{', '.join(run.name for run in runs)}: {name}")
    keys = [f"{run.name}:{name}" for run in runs]
    for key in keys:
        bench.work.clear(key)
    try:
        MEASURES[name](bench, runs)
    except Interrupted:
        raise
    except (FusionError, ScoringError, OSError) as reason:
        if len(runs) > 1:
            for run in runs:
                _measure(bench, name, [run])
            return
        absent = isinstance(reason, MissingAssetError | MissingTool)
        log = None if absent else str(bench.work.log(runs[0]))
        bench.work.fail(keys[0], Failure(status="missing" if absent else "failed", reason=str(reason), log=log))
    else:
        for run in runs:
            entry = bench.kept.find(run)
            done = dict(entry.measures) if entry is not None else {}
            _keep(bench, run, {**done, name: Measure(status="done", identity=run.measures[name])})


def _keep(bench: Bench, run: PlannedRun, measures: dict[str, Measure]) -> None:
    folder = bench.folder(run)
    bench.kept.keep(run, folder, measures)
    if run.stage == "sanity":
        return
    dataset = _dataset(run)
    _keep_questions(bench, dataset, folder / MODALITIES_FILE)
    splits = {Predictions.read(path).split for path in (folder / "predictions").glob("*.json")}
    if dataset.has_references("train"):  # what is new to training is told from these
        splits.add("train")
    for split in sorted(splits):
        references, events = dataset.references(split), dataset.events(split)
        bench.kept.keep_references("references", references.sha256(), references.canonical_bytes())
        if events is not None:
            bench.kept.keep_references("events", events.sha256(), events.canonical_bytes())


def _keep_questions(bench: Bench, dataset: PreparedDataset, scores: Path) -> None:
    """Keep what was asked about the clips, where something was."""
    asked = dataset.questions(ModalityScores.read(scores).split) if scores.is_file() else None
    if asked is not None:
        bench.kept.keep_references("questions", asked.sha256(), asked.canonical_bytes())


def _same_weights(folder: Path, kept: Path) -> bool:
    """Say whether what is kept came from the weights in a run directory."""
    if not (folder / RUN_CARD).is_file():
        return (folder / SANITY_FILE).is_file()
    return RunCard.read(folder / RUN_CARD).adapter_sha256 == RunCard.read(kept / RUN_CARD).adapter_sha256


def _dataset(run: PlannedRun) -> PreparedDataset:
    return prepare_dataset(run.dataset, parse_options(run.dataset, run.settings.dataset))


def _train(bench: Bench, run: PlannedRun, kind: type[Experiment] = Experiment) -> None:
    """Train by cross-entropy, or go on with what lies in the directory."""
    folder = bench.folder(run)
    _experiment(bench, run, folder, resume=(folder / "settings.json").is_file(), kind=kind)


def _train_further(bench: Bench, run: PlannedRun) -> None:
    """Train self-critically from the best weights of the parent, inside its directory."""
    _experiment(bench, run, bench.folder(run).parent, resume=True)


def _experiment(bench: Bench, run: PlannedRun, folder: Path, resume: bool, kind: type[Experiment] = Experiment) -> None:
    command = ("fusion", "study", "run", bench.study.name, "--only", run.name)
    request = Request(run.dataset, run.system, run.settings, folder, None, resume, command)
    kind(request, bench.announce).run()


def _check(bench: Bench, run: PlannedRun) -> None:
    """Phase 0: keep the checks, and fail where one does.

    Raises:
        GateFailedError: a check failed.
    """
    begun = time.perf_counter()
    checks = check_sanity(run.system, run.settings, plan_for(run.settings), bench.announce)
    content = {
        "system": run.system,
        "passed": not failed(checks),
        "seconds": round(time.perf_counter() - begun, 1),
        "checks": [vars(check) for check in checks],
    }
    name = SANITY_FILE if not failed(checks) else f"failed-{SANITY_FILE}"
    write_atomic(bench.folder(run) / name, json.dumps(content, ensure_ascii=False, indent=1).encode())
    if failed(checks):
        names = "; ".join(check.name for check in failed(checks))
        raise GateFailedError(f"{len(failed(checks))} of {len(checks)} sanity checks failed ({names}).")


def _watch(bench: Bench, run: PlannedRun) -> None:
    """Train the second modality from the parent's weights.

    Raises:
        MissingAssetError: the dataset is not known here.
    """
    if run.dataset not in dataset_names():
        raise MissingAssetError(f"The dataset {run.dataset} is not known here; it comes with the video modality.")
    parent = bench.folder(bench.plan.runs[str(run.parent)])
    settings = choose_modalities(run.settings, VIDEO_MODALITIES.split(","), list(run.frozen))
    settings = settings.model_copy(update={"init": str(parent)})
    _train(bench, replace(run, settings=settings), ModalExperiment)


def _retention(bench: Bench, runs: Sequence[PlannedRun]) -> None:
    measure_retention([bench.folder(run) for run in runs], bench.study.retention)


def _rerank(bench: Bench, runs: Sequence[PlannedRun]) -> None:
    for run in runs:
        measure_rerank(bench.folder(run), _dataset(run), bench.study.rerank)


TRAINERS: dict[str, Callable[[Bench, PlannedRun], None]] = {
    "xe": _train,
    "scst": _train_further,
    "sanity": _check,
    "video": _watch,
}
MEASURES: dict[str, Callable[[Bench, Sequence[PlannedRun]], None]] = {"retention": _retention, "rerank": _rerank}
