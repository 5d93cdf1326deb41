"""The curves of runs, finished or not, from their logs alone (``log.jsonl``): loss, score on val, gates, rates, rewards.

A log is read as far as it is written. Where a run was taken up again or rolled back, steps are done twice: the later ones count.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fusion_eval.errors import DataError

LOG_FILE = "log.jsonl"
Points = dict[int, float]

PANELS = {
    "loss": "loss",
    "cider_d": "val CIDEr-D",
    "accuracy": "val accuracy",
    "contrastive": "contrastive loss",
    "gates": "gate by site",
    "addition_ratio": "addition over stream, by site",
    "learning_rates": "learning rate",
    "reward": "reward of the samples",
    "length": "length of the samples, tokens",
    "entropy": "entropy, nats a caption",
    "divergence": "KL to the start, nats a caption",
    "residual_drift": "residual drift, 1 - cos",
}
# Where the values of an event go: key of the event -> (panel, series). Nested values have a series a key.
_OF_STEPS = {
    "loss": ("loss", "loss"),
    "contrastive": ("contrastive", "contrastive"),
    "gates": ("gates", None),
    "learning_rates": ("learning_rates", None),
    "reward": ("reward", "reward"),
    "baseline": ("reward", "baseline"),
    "length": ("length", "length"),
    "entropy": ("entropy", "entropy"),
    "divergence": ("divergence", "divergence"),
    "kl": ("divergence", "divergence"),
    "residual_drift": ("residual_drift", "residual drift"),
}
_JUDGED_BY = ("cider_d", "accuracy")  # what weights are chosen by: one of these in a run
_OF_EVALUATIONS: dict[str, tuple[str, str | None]] = {name: (name, PANELS[name]) for name in _JUDGED_BY} | {
    "addition_ratio": ("addition_ratio", None)
}
# ``started`` is the score of the weights that self-critical training begins with, at step 0.
_SOURCES = {"step": _OF_STEPS, "evaluated": _OF_EVALUATIONS, "started": _OF_EVALUATIONS}
_STAGES = {"prepared", "encoded", "aligned", "trained", "finished"}
_TAKEN_BACK = {"resumed", "contingency"}  # what was done after their step is done again; without one, all of it
_WORDS = ("phase", "name", "kind", "action", "trigger", "reason")  # what says more of an event, the first that it has


@dataclass(frozen=True)
class Mark:
    """Something that happened at a step: the run was taken up again, a phase began, a contingency was triggered.

    Attributes:
        step: the step after which it happened.
        event: its name in the log.
        text: what the figure says of it.
    """

    step: int
    event: str
    text: str


@dataclass
class RunCurves:
    """What one run has logged.

    Attributes:
        run: the name of the run.
        step: the last step that was logged.
        state: ``finished``, ``trained`` (captions and scores are to come) or ``open`` (running, or cut off).
        series: values by step, by panel and series.
        marks: what happened on the way.
    """

    run: str
    step: int = 0
    state: str = "open"
    series: dict[str, dict[str, Points]] = field(default_factory=dict)
    marks: list[Mark] = field(default_factory=list)

    @property
    def best(self) -> tuple[int, float] | None:
        """The step whose weights val likes best, and its score; None before the first evaluation."""
        points = self.series.get(self.judged_by, {}).get(PANELS[self.judged_by], {})
        return max(points.items(), key=lambda point: point[1]) if points else None

    @property
    def judged_by(self) -> str:
        """The metric of val that weights are chosen by."""
        return next((name for name in _JUDGED_BY if name in self.series), _JUDGED_BY[0])

    def last(self, panel: str) -> dict[str, float]:
        """Return the newest value of each series of a panel."""
        return {name: points[max(points)] for name, points in self.series.get(panel, {}).items() if points}

    def as_dict(self) -> dict[str, Any]:
        """Return all of it in JSON's types, points as [step, value]."""
        best = self.best
        return {
            "run": self.run,
            "state": self.state,
            "step": self.step,
            "best": None if best is None else {"step": best[0], self.judged_by: best[1]},
            "series": {
                panel: {name: sorted(map(list, points.items())) for name, points in series.items()}
                for panel, series in self.series.items()
            },
            "marks": [vars(mark) for mark in self.marks],
        }


def read_curves(paths: Sequence[Path]) -> list[RunCurves]:
    """Read the logs of runs; names that occur twice are told apart by their folders.

    Raises:
        DataError: there is no log, or it has no step yet.
    """
    runs = [_read_run(path) for path in paths]
    names = [run.run for run in runs]
    for path, run in zip(paths, runs, strict=True):
        if names.count(run.run) > 1:
            run.run = "/".join(_folder(path).parts[-2:])
    return runs


def _folder(path: Path) -> Path:
    return path.resolve().parent if path.is_file() else path.resolve()


def _read_run(path: Path) -> RunCurves:
    log = path if path.is_file() else path / LOG_FILE
    if not log.is_file():
        raise DataError(f"{path}: no {LOG_FILE} here; give the folder of a run of fusion train.")
    place = _folder(path)
    run = RunCurves("/".join(place.parts[-2:]) if place.name == "scst" else place.name)
    for event in _events(log):
        name, step = str(event.get("event", "")), event.get("step")
        if name in _SOURCES:
            _take_in(run, int(event.get("step", 0)), event, _SOURCES[name])
        elif name in _TAKEN_BACK or (name not in _STAGES and isinstance(step, int)):
            run.marks.append(Mark(step or 0, name, _say(name, event)))
        if name in ("trained", "finished"):
            run.state = name
        elif name in _TAKEN_BACK:
            run.state = "open"
            _forget(run, after=step or 0)
    if not run.step:
        raise DataError(f"{log} has no step yet; wait until training has begun.")
    return run


def _events(log: Path) -> Iterator[dict[str, Any]]:
    """Yield the events; a line that a kill cut off is left out."""
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(event, dict):
            yield event


def _take_in(run: RunCurves, step: int, event: Mapping[str, Any], places: Mapping[str, tuple[str, str | None]]) -> None:
    run.step = step
    for key, (panel, name) in places.items():
        value = event.get(key)
        values = {} if value is None else value if isinstance(value, Mapping) else {name or key: value}
        for series, number in values.items():
            points = run.series.setdefault(panel, {}).setdefault(str(series), {})
            if math.isfinite(number):
                points[step] = float(number)
            else:
                run.marks.append(Mark(step, "not a number", f"{key} is no number"))


def _forget(run: RunCurves, after: int) -> None:
    """Leave out what was logged after a step: it is done again."""
    run.step = min(run.step, after)
    for series in run.series.values():
        for name, points in series.items():
            series[name] = {step: value for step, value in points.items() if step <= after}


def _say(name: str, event: Mapping[str, Any]) -> str:
    more = next((str(event[key]) for key in _WORDS if isinstance(event.get(key), str)), "")
    words = name.replace("_", " ")
    if name == "phase":
        return more or words
    return f"{words}: {more}" if more else words


def smoothed(points: Points, span: int | None = None) -> Points:
    """Return an exponential moving average, each value weighted against those before it alone.

    Args:
        points: values by step.
        span: how many values are averaged, roughly; by default a twentieth of them, 5 to 50.
    """
    steps = sorted(points)
    keep = 1 - 2 / ((span or min(max(len(steps) // 20, 5), 50)) + 1)
    total, weight, found = 0.0, 0.0, {}
    for step in steps:
        total, weight = keep * total + points[step], keep * weight + 1
        found[step] = total / weight
    return found
