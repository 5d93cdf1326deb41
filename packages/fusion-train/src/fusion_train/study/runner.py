"""The study as a whole: what is missing is carried out, the rules are applied to it, and the card is kept up to date."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fusion_core.errors import ConfigError
from fusion_eval.schemas.study import Decision, StudyCard

from fusion_train.study.config import Experiment, Study
from fusion_train.study.decisions import CONTINGENCY, Ruling, apply_rules
from fusion_train.study.executors.base import Errand, Executor
from fusion_train.study.kept import KeptResults
from fusion_train.study.plan import Plan, plan_study
from fusion_train.study.schedule import OpenChain, not_here, open_chains
from fusion_train.study.workspace import STUDY, Failure, Workspace

Notice = Callable[[str, str], None]


@dataclass(frozen=True)
class Standing:
    """Where a study stands.

    Attributes:
        plan: all runs, those that rules have added among them.
        added: the experiments that rules have added.
        decisions: what the rules decided.
        chains: what is still to do.
    """

    plan: Plan
    added: tuple[Experiment, ...]
    decisions: tuple[Decision, ...]
    chains: tuple[OpenChain, ...]


def standing(study: Study, work: Workspace, kept: KeptResults) -> Standing:
    """Return where a study stands, from files alone.

    Raises:
        ConfigError: a setting of the study is wrong.
    """
    rulings = apply_rules(plan_study(study), kept)
    added = tuple(ruling.experiment for ruling in rulings if ruling.experiment is not None)
    plan = plan_study(study, added)
    decisions = tuple(_decision(study, ruling) for ruling in rulings)
    return Standing(plan, added, decisions, tuple(open_chains(plan, work, kept)))


def update_card(study: Study, work: Workspace, kept: KeptResults, found: Standing | None = None) -> StudyCard:
    """Write the study card where it has changed, and return it."""
    found = found or standing(study, work, kept)
    return kept.write_card(found.plan, reasons(found.plan, work, kept), found.decisions)


def reasons(plan: Plan, work: Workspace, kept: KeptResults) -> dict[str, Failure]:
    """Return why runs and measures have no result: as this machine found, or else as the card says that another one did."""
    card = kept.read_card()
    before: dict[str, Failure] = {}
    for entry in card.runs if card is not None else ():
        planned = plan.runs.get(entry.name)
        if planned is None or planned.identity != entry.identity:
            continue
        if entry.status != "done":
            before[entry.name] = Failure(status=entry.status, reason=str(entry.reason), log=entry.log)
        for name, measure in entry.measures.items():
            if measure.status != "done":
                before[f"{entry.name}:{name}"] = Failure(status=measure.status, reason=str(measure.reason))
    return {**before, **not_here(plan), **work.failures()}


def run_study(
    study: Study, work: Workspace, kept: KeptResults, executor: Executor, notice: Notice, only: tuple[str, ...] = ()
) -> StudyCard:
    """Carry out what is missing of a study, what its rules add too, and return its card; what is there is not done again.

    Args:
        study: the configuration.
        work: where it works.
        kept: where its small results are kept.
        executor: where the chains are carried out.
        notice: called with a run and its new state, and with sentences and «stage».
        only: names of runs; the chains of others are left alone.

    Raises:
        ConfigError: a setting is wrong, another process runs this study, or ``only`` names no run.
        DataError, MissingAssetError: what all runs need is missing.
        Interrupted: this process was asked to stop; run it again to go on.
    """
    with work.lock(), work.at_work(STUDY):
        attempted: set[tuple[str, tuple[str, ...]]] = set()
        kept.mend()
        while True:
            found = standing(study, work, kept)
            _require_known(found.plan, only)
            update_card(study, work, kept, found)
            chains = [chain for chain in found.chains if _is_wanted(found.plan, chain, only, attempted)]
            if not chains:
                return update_card(study, work, kept)
            attempted |= {key for chain in chains for key in _keys(found.plan, chain)}
            errand = Errand(study, found.added, work.root, kept.root)

            def tell(
                name: str, state: str, plan: Plan = found.plan, decisions: tuple[Decision, ...] = found.decisions
            ) -> None:
                notice(name, state)
                if state not in ("started", "stage"):
                    kept.write_card(plan, reasons(plan, work, kept), decisions)

            executor.run(errand, chains, tell)


def _is_wanted(
    plan: Plan, chain: OpenChain, only: tuple[str, ...], attempted: set[tuple[str, tuple[str, ...]]]
) -> bool:
    new = any(key not in attempted for key in _keys(plan, chain))
    return new and (not only or bool(set(only) & set(chain.runs)))


def _keys(plan: Plan, chain: OpenChain) -> list[tuple[str, tuple[str, ...]]]:
    """Return what is tried with a chain, so that it is tried once an invocation: a run with its measures."""
    return [(name, tuple(sorted(plan.runs[name].measures))) for name in chain.runs]


def _require_known(plan: Plan, only: tuple[str, ...]) -> None:
    for name in only:
        if name not in plan.runs:
            raise ConfigError(f"--only {name}: the study has no such run; fusion study plan --runs lists them.")


def _decision(study: Study, ruling: Ruling) -> Decision:
    """Return a decision; one that adds an experiment names the runs of it."""
    if ruling.experiment is None:
        return ruling.decision
    plan = plan_study(study, [ruling.experiment])
    names = tuple(run.name for run in plan.runs.values() if CONTINGENCY in run.experiments)
    return ruling.decision.model_copy(update={"runs": names})


def places(study: Study, work: Path | None, results: Path | None) -> tuple[Workspace, KeptResults]:
    """Return where a study works and keeps its results: ``runs/<name>`` and ``results/<name>`` unless told otherwise."""
    return Workspace(work or Path("runs") / study.name), KeptResults(results or Path("results") / study.name)
