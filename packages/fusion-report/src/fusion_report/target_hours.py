"""How long training took until val reached a target, from the run's log; a run that never reached it is censored.

Time is counted from the first step, evaluations included; what lies between a cut and the taking up again is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from fusion_report.groups import Group
from fusion_report.results import Run
from fusion_report.study import Study

LOG = "log.jsonl"
METRIC = "cider_d"
SHARE = 0.8  # of the best system's val score, where the study states no target
CRITERION = "target_val_cider_d"
_SECONDS = 3600


@dataclass(frozen=True)
class TargetTime:
    """One run's way to the target.

    Attributes:
        group: what the tables call the run.
        seed: its seed.
        hours: until the first evaluation at or above the target, or until the end of training where there is none, in h.
        reached: whether the target was reached; if not, ``hours`` is a lower bound.
        best: the best value on val.
        source: the log.
    """

    group: str
    seed: int
    hours: float
    reached: bool
    best: float
    source: str


@dataclass(frozen=True)
class _Evaluation:
    hours: float
    value: float


def evaluations(run: Run) -> list[tuple[float, float]]:
    """Return hours of training and the val score of each evaluation, in their order; what was done again counts once."""
    return [(one.hours, one.value) for one in _evaluations(run.lines(LOG))]


def _evaluations(events: Sequence[Mapping[str, Any]]) -> list[_Evaluation]:
    found: dict[int, _Evaluation] = {}
    elapsed, before, begun = 0.0, None, False
    for event in events:
        now, name = event.get("time"), event.get("event")
        if not isinstance(now, int | float):
            continue
        if begun and before is not None and name != "resumed":
            elapsed += max(0.0, now - before)
        before = now
        begun = begun or name == "step"
        step, value = event.get("step"), event.get(METRIC)
        if name == "resumed" and isinstance(step, int):
            found = {done: one for done, one in found.items() if done <= step}
        if name == "evaluated" and isinstance(step, int) and isinstance(value, int | float):
            found[step] = _Evaluation(elapsed / _SECONDS, float(value))
    return [found[step] for step in sorted(found)]


def target_of(study: Study) -> tuple[float, str] | None:
    """Return the target and how it was set; None where no run has been evaluated on val."""
    stated = study.results.card.criteria.get(CRITERION)
    if isinstance(stated, int | float):
        return float(stated), "stated by the study"
    means = []
    for group in study.main(study.dataset):
        best = [max(value for _, value in found) for run in group.runs if (found := evaluations(run))]
        if best and group.stage == "xe":
            means.append(fmean(best))
    if not means:
        return None
    return SHARE * max(means), f"{SHARE:.0%} of the best system's mean val score, as the study states none"


def target_times(study: Study, groups: Sequence[Group], target: float) -> list[TargetTime]:
    """Return the way to the target of each run that has been evaluated on val."""
    found = []
    for group in groups:
        for run in group.runs:
            points = evaluations(run)
            if not points:
                continue
            reached = next((hours for hours, value in points if value >= target), None)
            found.append(
                TargetTime(
                    group=group.label,
                    seed=run.entry.seed,
                    hours=points[-1][0] if reached is None else reached,
                    reached=reached is not None,
                    best=max(value for _, value in points),
                    source=run.place(LOG),
                )
            )
    return found
