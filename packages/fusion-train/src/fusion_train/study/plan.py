"""The runs that a study expands to, each with its settings, its identity and the run whose weights it starts from.

A run's identity is the hash of what decides its results: the settings without those that decide nothing (what stays at its
default counts as not said, so that a new setting leaves old identities as they are), the system, the stage, the threads and
the identity of its parent. What lies in files, the dataset, is compared apart (``kept.py``), because a fresh clone has none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any

from fusion_core.errors import ConfigError

from fusion_train.config import RunSettings, load_settings
from fusion_train.datasets.base import json_sha256
from fusion_train.study.config import Changes, Experiment, Stage, Study, Variant

VERSION = 1
"""Counts up whenever the same settings give other results."""

VIDEO_DATASET = "av-scenes"
VIDEO_MODALITIES = "video,audio"
SANITY_DATASET = "scenes"
"""What the checks of phase 0 learn by heart, whatever the study trains on."""

_WITHOUT_EFFECT = {"checkpoints_kept"}
_PLACES = {"workers", "csv_dir", "audio_dir", "bank", "source", "images"}
"""Options of datasets that say where something lies or how it is made, not what it is."""


@dataclass(frozen=True)
class PlannedRun:
    """One run.

    Attributes:
        name: its name and the name of its folder.
        experiments: who uses it.
        phase: the first phase that needs it.
        stage: xe, scst, video or sanity.
        system: the fusion system.
        dataset: its name.
        profile: the settings' profile.
        changes: the settings' changes, by dotted key.
        settings: the resolved settings.
        variant: how it differs from the default.
        parent: the run whose weights it starts from.
        parent_identity: that run's identity.
        identity: what it is, as a hash.
        measures: identity of what is measured on it, by name.
        after: the rule that lets it begin; None for no rule.
        leave_out: files that are not kept, as patterns.
        frozen: of a video run, the modalities of its parent that are not trained on.
    """

    name: str
    experiments: tuple[str, ...]
    phase: int
    stage: str
    system: str
    dataset: str
    profile: str
    changes: Changes
    settings: RunSettings
    variant: str
    parent: str | None
    parent_identity: str | None
    identity: str
    measures: dict[str, str] = field(default_factory=dict)
    after: str | None = None
    leave_out: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()

    @property
    def seed(self) -> int:
        """The seed of weights, order and controls."""
        return self.settings.seed


@dataclass(frozen=True)
class Plan:
    """All runs of a study by name; a parent stands before its children."""

    study: Study
    runs: dict[str, PlannedRun]

    def chains(self) -> list[tuple[PlannedRun, ...]]:
        """Return the runs in chains: one that starts from nothing, and all that start from its weights."""
        chains: dict[str, list[PlannedRun]] = {}
        root: dict[str, str] = {}
        for run in self.runs.values():
            root[run.name] = root[run.parent] if run.parent else run.name
            chains.setdefault(root[run.name], []).append(run)
        return [tuple(chain) for chain in sorted(chains.values(), key=lambda chain: chain[0].phase)]

    def of_experiment(self, name: str) -> list[PlannedRun]:
        """Return the runs that an experiment uses."""
        return [run for run in self.runs.values() if name in run.experiments]


def plan_study(study: Study, added: Sequence[Experiment] = ()) -> Plan:
    """Expand a study; ``added`` are experiments that its rules have added.

    Raises:
        ConfigError: a setting is wrong, or two runs that differ would have one name.
    """
    runs: dict[str, PlannedRun] = {}
    for experiment in (*study.experiments, *added):
        for run in _expand(study, experiment):
            _add(runs, run, experiment.name)
    return Plan(study, runs)


def _expand(study: Study, experiment: Experiment) -> Iterable[PlannedRun]:
    """Yield the runs of an experiment, a parent before its children."""
    for seed in experiment.seeds if experiment.seeds is not None else study.seeds:
        for system in experiment.systems:
            for variant in experiment.variants:
                yield from _runs(study, experiment, system, variant, seed)


def _runs(study: Study, experiment: Experiment, system: str, variant: Variant, seed: int) -> Iterable[PlannedRun]:
    if experiment.kind == "sanity":
        yield _sanity(study, experiment, system, seed)
        return
    first = _cross_entropy(study, experiment, system, variant, seed)
    if experiment.kind == "video":
        audio = experiment.model_copy(
            update={"kind": "train", "set": {}, "dataset": None, "profile": None, "measures": (), "frozen": ()}
        )
        first = _cross_entropy(study, audio, system, variant, seed)
        yield first
        yield _video(study, experiment, first)
        return
    yield first
    if "scst" in experiment.stages:
        yield _self_critical(study, experiment, first)


def _resolve(study: Study, experiment: Experiment, more: Changes) -> tuple[str, Changes]:
    """Return profile and changes of a run; the study's options of its dataset do not hold for another one."""
    other = experiment.kind != "train" or experiment.dataset not in (None, study.dataset)
    shared = {key: value for key, value in study.set.items() if not (other and key.startswith("dataset."))}
    return experiment.profile or study.profile, {**shared, **experiment.set, **more}


def _settings(profile: str, changes: Changes, seed: int, system: str, dataset: str, stage: Stage) -> RunSettings:
    start = "always" if stage == "scst" else "never"
    overrides = [f"{key}={json.dumps(value)}" for key, value in (changes | {"scst.start": start}).items()]
    return load_settings(profile, overrides, seed, system, dataset)


def _cross_entropy(study: Study, experiment: Experiment, system: str, variant: Variant, seed: int) -> PlannedRun:
    dataset = experiment.dataset or study.dataset
    profile, changes = _resolve(study, experiment, variant.set)
    settings = _settings(profile, changes, seed, system, dataset, "xe")
    parts = [] if dataset == study.dataset else [dataset]
    name = "-".join([*parts, system, *([_slug(variant.label)] if variant.label else []), f"s{seed}"])
    content = {**_content(study, settings, system, dataset), "stage": "xe"}
    identity = json_sha256(content)
    return PlannedRun(
        name=name,
        experiments=_experiments(experiment),
        phase=experiment.phase,
        stage="xe",
        system=system,
        dataset=dataset,
        profile=profile,
        changes=changes,
        settings=settings,
        variant=variant.label,
        parent=None,
        parent_identity=None,
        identity=identity,
        measures=_measures(study, experiment, identity),
        after=experiment.after,
        leave_out=experiment.leave_out,
    )


def _self_critical(study: Study, experiment: Experiment, parent: PlannedRun) -> PlannedRun:
    settings = _settings(parent.profile, parent.changes, parent.seed, parent.system, parent.dataset, "scst")
    own = settings.scst.model_dump(mode="json", exclude_defaults=True)
    identity = json_sha256({"stage": "scst", "parent": parent.identity, "scst": own})
    return replace(
        parent,
        name=f"{parent.name}+scst",
        stage="scst",
        settings=settings,
        parent=parent.name,
        parent_identity=parent.identity,
        identity=identity,
        measures=_measures(study, experiment, identity),
    )


def _video(study: Study, experiment: Experiment, parent: PlannedRun) -> PlannedRun:
    dataset = experiment.dataset or VIDEO_DATASET
    profile, changes = _resolve(study, experiment, {})
    settings = _settings(profile, changes, parent.seed, parent.system, dataset, "xe")
    content = {**_content(study, settings, parent.system, dataset), "stage": "video", "parent": parent.identity}
    content |= {"frozen": sorted(experiment.frozen)} if experiment.frozen else {}
    identity = json_sha256({**content, "modalities": VIDEO_MODALITIES})
    own = [f"{' and '.join(sorted(experiment.frozen))} frozen"] if experiment.frozen else []
    return replace(
        parent,
        name="-".join(["video", *map(_slug, own), parent.name]),
        experiments=_experiments(experiment),
        phase=experiment.phase,
        stage="video",
        dataset=dataset,
        profile=profile,
        changes=changes,
        settings=settings,
        variant=", ".join([*([parent.variant] if parent.variant else []), *own]),
        parent=parent.name,
        parent_identity=parent.identity,
        identity=identity,
        measures=_measures(study, experiment, identity),
        after=experiment.after,
        leave_out=experiment.leave_out,
        frozen=experiment.frozen,
    )


def _sanity(study: Study, experiment: Experiment, system: str, seed: int) -> PlannedRun:
    dataset = SANITY_DATASET
    profile, changes = _resolve(study, experiment, {})
    settings = _settings(profile, changes, seed, system, dataset, "xe")
    return PlannedRun(
        name=f"sanity-{system}-s{seed}",
        experiments=_experiments(experiment),
        phase=experiment.phase,
        stage="sanity",
        system=system,
        dataset=dataset,
        profile=profile,
        changes=changes,
        settings=settings,
        variant="",
        parent=None,
        parent_identity=None,
        identity=json_sha256({**_content(study, settings, system, dataset), "stage": "sanity"}),
        after=experiment.after,
        leave_out=experiment.leave_out,
    )


def _content(study: Study, settings: RunSettings, system: str, dataset: str) -> dict[str, Any]:
    """Return what decides the results of a run that starts from nothing."""
    said = settings.model_dump(mode="json", exclude_defaults=True, exclude=_WITHOUT_EFFECT | {"scst"})
    options = {name: _without_place(name, value) for name, value in said.pop("dataset", {}).items()}
    kept = {name: value for name, value in options.items() if value is not None}
    return {
        "version": VERSION,
        "system": system,
        "dataset": {"name": dataset, **kept},
        "settings": said,
        "seed": settings.seed,
        "threads": study.threads,
    }


def _without_place(name: str, value: Any) -> Any:
    """Return an option of a dataset; of a place only its last name, so that another machine may keep it elsewhere."""
    return PurePath(str(value)).name if name in _PLACES and value is not None else value


def _measures(study: Study, experiment: Experiment, identity: str) -> dict[str, str]:
    """Return the identity of each measure that the experiment wants."""
    plans = {"retention": study.retention, "rerank": study.rerank}
    chosen = {name: plans[name].model_dump(mode="json") for name in experiment.measures}
    if "rerank" in chosen:
        chosen["rerank"]["similarity"] = study.similarity
    return {name: json_sha256({"run": identity, "measure": name, **plan}) for name, plan in chosen.items()}


def _experiments(experiment: Experiment) -> tuple[str, ...]:
    return (experiment.name, *experiment.also)


def _add(runs: dict[str, PlannedRun], run: PlannedRun, experiment: str) -> None:
    """Add a run, or let one that is the same be used by another experiment too."""
    same = next((one for one in runs.values() if one.identity == run.identity), None)
    if same is not None:
        runs[same.name] = replace(
            same,
            experiments=tuple(dict.fromkeys((*same.experiments, *run.experiments))),
            phase=min(same.phase, run.phase),
            measures=same.measures | run.measures,
            after=same.after and run.after,
            leave_out=tuple(name for name in same.leave_out if name in run.leave_out),
        )
        return
    parent = next((one for one in runs.values() if one.identity == run.parent_identity), None)
    name = run.name if run.name not in runs else f"{_slug(experiment)}-{run.name}"
    if name in runs:
        raise ConfigError(f"Experiment {experiment}: two runs that differ would be called {name}; label the variant.")
    runs[name] = replace(run, name=name, parent=parent.name if parent else None)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")
