"""Runs that differ in the seed alone, put together, in the order in which tables show them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile

from fusion_eval.errors import DataError

from fusion_report.results import Results, Run

REFERENCE = "additive"
_RUN = "\0"  # stands for a run's name, and in no text
SYSTEMS = (REFERENCE, "cross-attention", "concat", "partial-unfreeze", "data-only", "hybrid")
STAGES = {"xe": "XE", "scst": "+ SCST", "video": "video", "sanity": "sanity"}


@dataclass(frozen=True, eq=False)
class Group:
    """Runs of one system, stage, variant and dataset, by seed; a group is equal to itself alone."""

    system: str
    stage: str
    variant: str
    dataset: str
    runs: tuple[Run, ...]

    @property
    def key(self) -> str:
        """A name that no other group of the study has."""
        return " ".join(part for part in (self.system, self.variant, self.stage, self.dataset) if part)

    @property
    def label(self) -> str:
        """What a table calls it: the system, its variant, and SCST where it was used."""
        name = f"{self.system}, {self.variant}" if self.variant else self.system
        return f"{name} + SCST" if self.stage == "scst" else name

    def uses(self, experiment: str) -> bool:
        """Say whether an experiment of the study uses these runs."""
        return any(experiment in run.entry.experiment for run in self.runs)

    def done(self, name: str) -> tuple[Run, ...]:
        """Return the runs that left a file."""
        return tuple(run for run in self.runs if run.has(name))

    def lacking(self, read: Callable[[Run], object]) -> list[str]:
        """Return why some runs do not have what ``read`` asks of them, a sentence a reason, said once for all its runs."""
        reasons = []
        for run in self.runs:
            try:
                read(run)
            except DataError as error:
                reasons.append((run.entry.name, str(error)))
        return said_once(reasons)


def said_once(reasons: Iterable[tuple[str, str]]) -> list[str]:
    """Return the sentences of runs, those that differ in the run's name alone as one: ``additive-s{0,1,2}``."""
    runs: dict[str, list[str]] = {}
    for name, reason in reasons:
        own = runs.setdefault(re.sub(rf"(?<![\w+-]){re.escape(name)}(?![\w+-])", _RUN, reason), [])
        own += [] if name in own else [name]
    return [reason.replace(_RUN, _braced(names)) for reason, names in runs.items()]


def _braced(names: Sequence[str]) -> str:
    """Return names as a shell writes them: what they begin and end with once, the rest in braces."""
    if len(names) == 1:
        return names[0]
    head = _beginning(names)
    rest = [name[len(head) :] for name in names]
    tail = _beginning([name[::-1] for name in rest])[::-1]
    return head + "{" + ",".join(name[: len(name) - len(tail)] for name in rest) + "}" + tail


def _beginning(names: Sequence[str]) -> str:
    """Return what all names begin with."""
    columns = zip(*names, strict=False)
    return "".join(column[0] for column in takewhile(lambda column: len(set(column)) == 1, columns))


def group_runs(results: Results) -> tuple[Group, ...]:
    """Return all groups of a study: systems in the order of the design, XE before SCST, defaults before variants."""
    found: dict[tuple[str, str, str, str], list[Run]] = {}
    for run in results.runs:
        entry = run.entry
        found.setdefault((entry.system, entry.stage, entry.variant, entry.dataset), []).append(run)
    groups = [Group(*key, tuple(sorted(runs, key=lambda run: run.entry.seed))) for key, runs in found.items()]
    listed = {key: place for place, key in enumerate(found)}
    return tuple(sorted(groups, key=lambda group: _rank(group, listed)))


def _rank(group: Group, listed: dict[tuple[str, str, str, str], int]) -> tuple[object, ...]:
    system = SYSTEMS.index(group.system) if group.system in SYSTEMS else len(SYSTEMS)
    stage = list(STAGES).index(group.stage) if group.stage in STAGES else len(STAGES)
    key = (group.system, group.stage, group.variant, group.dataset)
    return (group.dataset, system, bool(group.variant), stage, listed[key])


def used_by(groups: Iterable[Group], *experiments: str, stages: Sequence[str] = ("xe", "scst")) -> tuple[Group, ...]:
    """Return the groups that one of these experiments uses, of the given stages."""
    return tuple(group for group in groups if group.stage in stages and any(group.uses(one) for one in experiments))


def default_of(groups: Iterable[Group], system: str = REFERENCE, stage: str = "xe", dataset: str = "") -> Group | None:
    """Return the group of a system's default, of one dataset where it is named; None where the study has none."""
    for group in groups:
        if (group.system, group.stage, group.variant) == (system, stage, "") and dataset in ("", group.dataset):
            return group
    return None
