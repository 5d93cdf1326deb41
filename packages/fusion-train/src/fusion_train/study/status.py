"""Where every run of a study stands, from files alone: also of a study that another process runs."""

from __future__ import annotations

import json
from dataclasses import dataclass

from fusion_eval.schemas.study import Decision, StudyRun

from fusion_train.study.config import Study
from fusion_train.study.kept import KeptResults
from fusion_train.study.plan import Plan
from fusion_train.study.runner import reasons, standing
from fusion_train.study.workspace import STUDY, Workspace


@dataclass(frozen=True)
class RunStatus:
    """One run and how far it is.

    Attributes:
        entry: as the study card has it.
        state: done, running, open, failed or missing.
        step: optimiser steps done, where it trains or was stopped.
        steps: optimiser steps at most.
    """

    entry: StudyRun
    state: str
    step: int | None
    steps: int


@dataclass(frozen=True)
class StudyStatus:
    """All of a study.

    Attributes:
        runs: every run.
        decisions: what the rules decided.
        running: whether a process works on it.
    """

    runs: tuple[RunStatus, ...]
    decisions: tuple[Decision, ...]
    running: bool

    def count(self, state: str) -> int:
        """Return how many runs are in a state."""
        return sum(one.state == state for one in self.runs)


def study_status(study: Study, work: Workspace, kept: KeptResults) -> StudyStatus:
    """Return where a study stands.

    Raises:
        ConfigError: a setting of the study is wrong.
    """
    found = standing(study, work, kept)
    entries = kept.entries(found.plan, reasons(found.plan, work, kept))
    runs = tuple(_status(found.plan, entry, work) for entry in entries)
    return StudyStatus(runs, found.decisions, work.is_at_work(STUDY))


def _status(plan: Plan, entry: StudyRun, work: Workspace) -> RunStatus:
    run = plan.runs[entry.name]
    folder = work.folder(plan, run)
    steps = run.settings.scst.steps if run.stage == "scst" else run.settings.schedule.steps
    log = folder / "log.jsonl"
    step = _last_step(log.read_text(encoding="utf-8")) if log.is_file() else None
    if work.is_at_work(run.name):
        return RunStatus(entry, "running", step, steps)
    if entry.status == "done":
        return RunStatus(entry, "done", steps, steps)
    state = "open" if entry.status == "missing" and entry.reason == "Not run yet." else entry.status
    return RunStatus(entry, state, step, steps)


def _last_step(log: str) -> int | None:
    """Return the last step that a log names; a line cut off by a kill is passed over."""
    for line in reversed(log.splitlines()):
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            continue
        if event.get("event") == "step":
            return int(event["step"])
    return None
