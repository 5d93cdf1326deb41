"""Curves of the seeds of a group, put together: mean, and the range or the deviation, at the steps that all of them have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean, stdev

from fusion_eval.errors import DataError

from fusion_report.curves import LOG_FILE, Points, RunCurves, read_curves, smoothed
from fusion_report.groups import Group


@dataclass(frozen=True)
class SeedPoint:
    """One step of a group: the mean over its seeds, and that less and plus the standard deviation."""

    step: int
    mean: float
    low: float
    high: float


def curves_of(group: Group) -> list[RunCurves]:
    """Return the curves of the seeds that have a log with a step."""
    found = []
    for run in group.done(LOG_FILE):
        try:
            found += read_curves([run.folder])
        except DataError:
            continue
    return found


def over_seeds(runs: list[RunCurves], choose: Callable[[RunCurves], Points], smooth: bool = False) -> list[SeedPoint]:
    """Return mean and deviation over the seeds at the steps that all of them have.

    Args:
        runs: the seeds.
        choose: takes a seed's values by step.
        smooth: take moving averages.
    """
    each = [points for run in runs if (points := choose(run))]
    if smooth:
        each = [smoothed(points) for points in each]
    if not each:
        return []
    found = []
    for step in sorted(set.intersection(*(set(points) for points in each))):
        values = [points[step] for points in each]
        spread = stdev(values) if len(values) > 1 else 0.0
        found.append(SeedPoint(step, fmean(values), fmean(values) - spread, fmean(values) + spread))
    return found


def logs_of(group: Group) -> list[str]:
    """Return where the logs of a group lie."""
    return [run.place(LOG_FILE) for run in group.done(LOG_FILE)]
