"""Which runs are still to do, and which chains may begin."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fusion_eval.schemas import RunCard

from fusion_train.backbone_builders import BUILDERS, find_trained
from fusion_train.datasets.base import CARD, DatasetCard, open_dataset
from fusion_train.datasets.registry import dataset_names, default_root, parse_options
from fusion_train.study.kept import KeptResults
from fusion_train.study.plan import Plan, PlannedRun
from fusion_train.study.workspace import Failure, Workspace


@dataclass(frozen=True)
class OpenChain:
    """A chain with something to do.

    Attributes:
        runs: what is to be carried out, a parent before its children; a finished parent is among them where its weights are gone.
        after: the rule that lets it begin.
    """

    runs: tuple[str, ...]
    after: str | None

    @property
    def name(self) -> str:
        """What it is called: its first run."""
        return self.runs[0]


def open_chains(plan: Plan, work: Workspace, kept: KeptResults) -> list[OpenChain]:
    """Return the chains with something to do, in the order of the phases."""
    found = []
    for chain in plan.chains():
        needed: set[str] = set()
        for run in chain:
            if is_open(plan, run, kept):
                needed |= {run.name} | _ancestors_without_weights(plan, run, work)
        if needed:
            names = tuple(run.name for run in chain if run.name in needed)
            found.append(OpenChain(names, plan.runs[names[0]].after))
    return found


def is_open(plan: Plan, run: PlannedRun, kept: KeptResults) -> bool:
    """Say whether a run, or a measure of it, has no result and may have one here."""
    if run.dataset not in dataset_names():
        return False
    entry = kept.find(run)
    if entry is None or _has_other_data(run, kept.folder(run.name)):
        return True
    absent = absent_measures(plan)
    missing = (name for name in run.measures if not entry.has_measure(name, run.measures[name]))
    return any(name not in absent for name in missing)


def absent_measures(plan: Plan) -> dict[str, Failure]:
    """Return the measures that cannot be had on this machine, with the reason."""
    name = plan.study.retention.backbone
    if name is None or Path(name).is_dir() or _is_here(name):
        return {}
    reason = f"The backbone {name} is not built on this machine: fusion backbone build {name}."
    return {"retention": Failure(status="missing", reason=reason)}


def not_here(plan: Plan) -> dict[str, Failure]:
    """Return the runs, and the measures as ``run:measure``, that cannot be tried on this machine, with the reason."""
    found = {}
    absent = absent_measures(plan)
    for run in plan.runs.values():
        if run.dataset not in dataset_names():
            reason = f"The dataset {run.dataset} is not known here: this version has no video."
            found[run.name] = Failure(status="missing", reason=reason)
        found |= {f"{run.name}:{name}": absent[name] for name in run.measures if name in absent}
    return found


def _is_here(backbone: str) -> bool:
    """Say whether a backbone comes with the package, is built, or is none that has to be built."""
    return backbone not in BUILDERS.names() or find_trained(backbone) is not None


def _ancestors_without_weights(plan: Plan, run: PlannedRun, work: Workspace) -> set[str]:
    """Return the parents whose weights must be trained again before a run can begin."""
    if work.has_weights(plan, run) or run.parent is None:
        return set()
    parent = plan.runs[run.parent]
    if work.has_weights(plan, parent):
        return set()
    return {parent.name} | _ancestors_without_weights(plan, parent, work)


def _has_other_data(run: PlannedRun, folder: Path) -> bool:
    """Say whether the dataset as it is prepared here is another one than the kept results were computed on.

    Clips from files are compared by their bytes. Those that a recipe makes are known by its options and version: their sounds
    are the same on every processor up to rounding, and a study may go on where it did not begin.
    """
    card = folder / "run_card.json"
    if not card.is_file():
        return False
    root = default_root(run.dataset, parse_options(run.dataset, run.settings.dataset))
    if not (root / CARD).is_file():
        return False
    then, now = RunCard.read(card).dataset, DatasetCard.read(root / CARD)
    if then.root_sha256 == now.sha256():
        return False
    if now.recipe_sha256 is None or then.recipe_sha256 is not None:
        return now.recipe_sha256 is None or then.recipe_sha256 != now.recipe_sha256
    dataset = open_dataset(root)  # a card of before recipes were written down: its texts must be the same
    return any(dataset.references(split).sha256() != digest for split, digest in then.references_sha256.items())
