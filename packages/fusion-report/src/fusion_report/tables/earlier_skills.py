"""What became of the earlier skills once a second modality was learned: hearing alone, and what the backbone could before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from fusion_eval.schemas.retention import CONDITIONS

from fusion_report.groups import Group
from fusion_report.measuring import difference_cell, scores_of, value_cells
from fusion_report.metric_names import METRICS, label_of
from fusion_report.results import Run
from fusion_report.study import Study
from fusion_report.table import Column, Row, Table, empty, words
from fusion_report.tables.captions import HOW, PAIRED
from fusion_report.tables.retention import after_cells, before_cell, read_retention
from fusion_report.tables.video import EARLIER, video_groups

COLUMNS = (
    Column(key="skill", title="Skill", numeric=False),
    Column(key="before", title="before"),
    Column(key="after", title="after"),
    Column(key="difference", title="Δ"),
    Column(key="bound", title="bound"),
    Column(key="verdict", title="verdict", numeric=False),
)
_NO_BOUND = "Of captions the interval of Δ is given; the bound is for questions."


def earlier_skills_table(study: Study) -> Table:
    """Return the rows of each group that was trained to watch: captions by its first modality alone, then retention."""
    groups = [group for group in video_groups(study) if group.stage == "video"]
    rows: list[Row] = []
    for group in groups:
        own = [*_captions(study, group), *_retention(group)]
        rows += [Row(cells=row.cells, section=None if place else group.label) for place, row in enumerate(own)]
    if not rows:
        reason = " ".join(reason for group in groups for reason in group.lacking(lambda run: run.card))
        rows = [Row(cells=(words("(no run)"), *[empty(reason or "The study has no run with video.")] * 5))]
    return Table(
        key="earlier-skills",
        title="Earlier skills after the second modality",
        caption=(
            "Captions: the test clips of the run that it started from, captioned again with that run's modality alone; before"
            " is that run.",
            HOW.format(resamples=study.measuring.resamples),
            f"Δ is after less before. {PAIRED}",
            "Retention: answers of the backbone before anything was trained and now, in %, Δ in points, mean over seeds; the"
            " bound is the lower end of its one-sided 95% interval, of the worst seed.",
        ),
        columns=COLUMNS,
        rows=tuple(rows),
    )


def _captions(study: Study, group: Group) -> Iterator[Row]:
    """Yield a row a metric of the captions that were made again."""
    names = {path.stem for run in group.runs for path in (run.folder / "scores").glob(f"{EARLIER}*.json")}
    for name in sorted(names):
        modality, first = name.removeprefix(EARLIER), _first(study, group, name)
        files = [scores for _, scores in scores_of(group, name)]
        metrics = [metric for metric in METRICS if any(metric in one.metrics for one in files)]
        after = value_cells(study.measuring, group, metrics, name)
        before = value_cells(study.measuring, first, metrics) if first is not None else {}
        for metric in metrics:
            yield Row(
                cells=(
                    words(f"captions by {modality}, {label_of(metric)}"),
                    before.get(metric, empty("The study does not have the run that it started from.")),
                    after[metric],
                    difference_cell(study.measuring, group, first, metric, (name, "audio")),
                    empty(_NO_BOUND),
                    empty(_NO_BOUND),
                )
            )


def _first(study: Study, group: Group, name: str) -> Group | None:
    """Return the runs that a group's runs started from, of those seeds that have the captions of both."""
    parents = {run.entry.parent for run, _ in scores_of(group, name)}
    for one in study.groups:
        found = tuple(run for run in one.runs if run.entry.name in parents)
        if found:
            return replace(one, runs=found)
    return None


def _retention(group: Group) -> Iterator[Row]:
    """Yield a row a condition of the questions to the backbone."""
    pairs = read_retention(group)
    for condition in CONDITIONS:
        if any(condition in retention.conditions for _, retention in pairs):
            after, delta, bound, _, verdict = after_cells(group, pairs, condition)
            yield Row(
                cells=(words(f"retention, {condition}"), before_cell(pairs, condition), after, delta, bound, verdict)
            )
    if not pairs:
        reason = " ".join(group.lacking(Run.retention)) or "Retention was not measured."
        yield Row(cells=(words("retention"), *[empty(reason)] * 5))
