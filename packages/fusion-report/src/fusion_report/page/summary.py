"""The numbers of the tables and charts: runs that differ in the seed alone put together, and why a number is absent.

A value is the mean over seeds of the corpus values; its interval is that of the report's tables, a bootstrap over clips of the
mean over seeds, and is given where the seeds were scored on the same clips and the metric can be resampled.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from fusion_eval.errors import DataError
from fusion_eval.schemas import Scores

from fusion_report.measuring import Measuring
from fusion_report.metric_names import label_of
from fusion_report.page.labels import METRICS, run_label
from fusion_report.page.outputs import AUDIO, ORACLE, PageResults, PageRun
from fusion_report.table import measured


@dataclass(frozen=True)
class Cell:
    """One number of a table.

    Attributes:
        value: mean over seeds; None where there is none.
        low: lower end of the 95 % interval over clips, where there is one.
        high: upper end.
        deviation: standard deviation over seeds (n - 1); None for one seed.
        by_seed: the value of each seed.
        reason: why there is no value, or what is lacking of it.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    deviation: float | None = None
    by_seed: dict[int, float] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class Group:
    """Runs of one system, stage and variant on one dataset: its seeds.

    Attributes:
        label: system, stage and variant.
        system: its name.
        stage: of training, such as xe.
        dataset: its name.
        runs: one a seed, those that came to nothing among them.
        measuring: gives values and intervals.
    """

    label: str
    system: str
    stage: str
    dataset: str
    runs: tuple[PageRun, ...]
    measuring: Measuring = field(repr=False, compare=False)
    _cells: dict[tuple[str, str, str], Cell] = field(default_factory=dict, repr=False, compare=False)

    @property
    def whole(self) -> str:
        """The condition under which the runs are given all that they can perceive."""
        return next((run.whole for run in self.runs if run.outputs), AUDIO)

    @property
    def is_variant(self) -> bool:
        """Whether the runs differ from their system's default."""
        return bool(self.runs[0].plan.variant)

    @property
    def parameters(self) -> int | None:
        """Trainable parameters, of the first run that has a card."""
        return next((run.card.parameters.total for run in self.runs if run.card is not None), None)

    @property
    def hours(self) -> float | None:
        """Mean wall-clock time of training in h, over the runs that say it."""
        found = [run.card.cost.hours for run in self.runs if run.card is not None and run.card.cost.hours is not None]
        return statistics.fmean(found) if found else None

    def conditions(self, split: str) -> list[str]:
        """Return the conditions that some run was scored under on a split."""
        return list(
            dict.fromkeys(name for run in self.runs for name, output in run.outputs.items() if output.split == split)
        )

    def cell(self, condition: str, metric: str, split: str = "test") -> Cell:
        """Return the value of a metric over the seeds, or why there is none; each is computed once."""
        key = condition, metric, split
        if key not in self._cells:
            self._cells[key] = self._measure(*key)
        return self._cells[key]

    def _measure(self, condition: str, metric: str, split: str) -> Cell:
        metric += "_max" if condition == ORACLE else ""  # what it is called where the references chose
        scored: dict[int, Scores] = {}
        reasons = []
        for run in self.runs:
            output = run.outputs.get(condition)
            if output is None or output.split != split:
                reasons.append(f"seed {run.plan.seed}: {run.reason or _absent(run, condition)}")
            elif output.scores is None:
                reasons.append(f"seed {run.plan.seed}: {output.reason}")
            elif metric not in output.scores.metrics:
                why = output.scores.unavailable.get(metric, f"{label_of(metric)} was not computed")
                reasons.append(f"seed {run.plan.seed}: {why}")
            else:
                scored[run.plan.seed] = output.scores
        return self._cell(scored, metric, _in_short(reasons, len(self.runs)))

    def _cell(self, scored: dict[int, Scores], metric: str, reason: str) -> Cell:
        if not scored:
            return Cell(reason=reason or "no run")
        by_seed = {seed: scores.metrics[metric] for seed, scores in sorted(scored.items())}
        files = [scored[seed] for seed in by_seed]
        # All that the files share is measured at once, so a table's row is resampled once.
        shared = [name for name in files[0].metrics if all(name in one.metrics for one in files)]
        try:
            found = measured(self.measuring.values(files, shared)[metric], ())
        except DataError as error:  # other clips for each seed: a mean, but nothing to resample
            deviation = statistics.stdev(by_seed.values()) if len(by_seed) > 1 else None
            reason = "; ".join(filter(None, [reason, str(error)]))
            return Cell(statistics.fmean(by_seed.values()), None, None, deviation, by_seed, reason)
        return Cell(found.value, found.low, found.high, found.stdev, by_seed, reason)


def _absent(run: PageRun, condition: str) -> str:
    spoiled = [problem for problem in run.problems if f"/{condition}.json" in problem]
    return "; ".join(spoiled) or f"{condition} was not measured"


def _in_short(reasons: Sequence[str], runs: int) -> str:
    """Return the reasons as one sentence, said once where all seeds share it."""
    bare = {reason.partition(": ")[2] for reason in reasons}
    if len(bare) == 1 and len(reasons) == runs:
        return bare.pop()
    return "; ".join(reasons)


def group_runs(results: PageResults, measuring: Measuring) -> list[Group]:
    """Return the runs in groups of seeds, those of a system together, in the order in which systems and groups begin."""
    systems = list(dict.fromkeys(run.plan.system for run in results.runs))
    groups: dict[tuple[str, str, str], list[PageRun]] = {}
    for run in results.runs:
        groups.setdefault((run.plan.dataset, run_label(run.plan), run.plan.stage), []).append(run)
    found = [
        Group(label, runs[0].plan.system, stage, dataset, tuple(runs), measuring)
        for (dataset, label, stage), runs in groups.items()
    ]
    return sorted(found, key=lambda group: systems.index(group.system))


def metrics_of(groups: Sequence[Group], split: str = "test") -> list[str]:
    """Return the metrics of the tables that some run has a value of or a reason for, in the order of the tables."""
    found = {
        name
        for group in groups
        for run in group.runs
        for output in run.outputs.values()
        if output.scores is not None and output.split == split
        for name in (*output.scores.metrics, *output.scores.unavailable)
    }
    return [name for name in METRICS if name in found]
