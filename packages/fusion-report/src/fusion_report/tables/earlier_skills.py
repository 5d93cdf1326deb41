"""What became of the earlier skills once a second modality was learned: hearing alone, and what the backbone could before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from fusion_eval.errors import DataError
from fusion_eval.retention import change_between
from fusion_eval.retention import verdict as verdict_of
from fusion_eval.schemas.retention import CONDITIONS, Condition

from fusion_report.groups import Group, said_once
from fusion_report.measuring import difference_cell, scores_of, value_cells
from fusion_report.metric_names import METRICS, label_of
from fusion_report.results import Run
from fusion_report.study import Study
from fusion_report.table import Column, Row, Table, empty, words
from fusion_report.tables.captions import HOW, PAIRED
from fusion_report.tables.retention import (
    FILE,
    Found,
    after_cells,
    before_cell,
    change_cells,
    condition_label,
    read_retention,
    right_before,
)
from fusion_report.tables.video import EARLIER, video_groups

COMPARABLE: dict[Condition, Condition] = {
    "none": "none",
    "silence": "silence",
    "earlier_distractor": "distractor",
    "blind": "blind",
}
"""What a run was asked, and what the run that it began with was asked: under *distractor* each heard clips of its own."""

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
        own = [*_captions(study, group), *_retention(study, group)]
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
            "Retention: right answers in %, Δ in points, mean over seeds; the bound is the lower end of its one-sided 95%"
            " interval, of the worst seed. Before is the backbone before anything was trained; «since that run»: the run that"
            " was taught to watch, so that what watching alone has changed stands apart. Under distractor a clip of the run's own"
            " dataset is bound with all its modalities; «of the earlier run»: that run's clips, by its modality alone.",
        ),
        columns=COLUMNS,
        rows=tuple(rows),
    )


def _captions(study: Study, group: Group) -> Iterator[Row]:
    """Yield a row a metric of the captions that were made again."""
    for name in caption_names(group):
        modality, first = name.removeprefix(EARLIER), first_runs(study, group, name)
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


def caption_names(group: Group) -> list[str]:
    """Return the names under which captions of the first run's test clips were scored again, one a modality."""
    return sorted({path.stem for run in group.runs for path in (run.folder / "scores").glob(f"{EARLIER}*.json")})


def first_runs(study: Study, group: Group, name: str) -> Group | None:
    """Return the runs that a group's runs started from, of those seeds that have the captions of both."""
    parents = {run.entry.parent for run, _ in scores_of(group, name)}
    for one in study.groups:
        found = tuple(run for run in one.runs if run.entry.name in parents)
        if found:
            return replace(one, runs=found)
    return None


def _retention(study: Study, group: Group) -> Iterator[Row]:
    """Yield for each condition a row since the backbone, and one since the run that was taught to watch."""
    pairs = read_retention(group)
    for condition in CONDITIONS:
        if any(condition in retention.conditions for _, retention in pairs):
            after, delta, bound, _, verdict = after_cells(group, pairs, condition)
            name = f"retention, {condition_label(condition)}"
            yield Row(cells=(words(name), before_cell(pairs, condition), after, delta, bound, verdict))
            if condition in COMPARABLE:
                yield _since(study, group, condition)
    if not pairs:
        reason = " ".join(group.lacking(Run.retention)) or "Retention was not measured."
        yield Row(cells=(words("retention"), *[empty(reason)] * 5))


def _since(study: Study, group: Group, condition: Condition) -> Row:
    """Return the row of a condition since the runs that a group's runs started from."""
    name = words(f"retention, {condition_label(condition)}, since that run")
    found, lacking = changes_since(study, group, condition)
    if not found:
        return Row(cells=(name, *[empty(lacking)] * 5))
    after, delta, bound, _, verdict = change_cells(found, lacking)
    return Row(cells=(name, right_before(found), after, delta, bound, verdict))


def changes_since(study: Study, group: Group, condition: Condition) -> tuple[list[Found], str]:
    """Return what became of the answers of the run that each run started from, and why some seeds are not among them."""
    runs = {run.entry.name: run for run in study.results.runs}
    found: list[Found] = []
    reasons: list[tuple[str, str]] = []
    for run in group.runs:
        try:
            found.append(_change(runs, run, condition))
        except DataError as error:
            reasons.append((run.entry.name, str(error)))
    return found, " ".join(said_once(reasons))


def _change(runs: Mapping[str, Run], run: Run, condition: Condition) -> Found:
    """Compare what a run answers with what the run that it started from answers.

    Raises:
        DataError: that run is not there or was not asked, or the two cannot be compared.
    """
    then, parent = run.retention(), runs.get(run.entry.parent or "")
    if parent is None:
        raise DataError(f"{run.entry.name}: the study does not have the run that it started from.")
    before, after = parent.retention().conditions.get(COMPARABLE[condition]), then.conditions.get(condition)
    if before is None or after is None:
        what = condition_label(condition)
        raise DataError(f"{run.entry.name}: the condition {what} was not measured both before and after.")
    change = change_between(before, after, then.scoring)
    same = before.logits_sha256_after == after.logits_sha256_after
    return ((parent.place(FILE), run.place(FILE)), change, "identical" if same else verdict_of(change, then.margin))
