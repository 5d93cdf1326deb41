"""What a checklist asks of the second modality: that it is worth something, and that what was learned before is still there."""

from __future__ import annotations

from collections.abc import Iterator

from fusion_eval.schemas.retention import Condition

from fusion_report.checks import Check, above_zero, check
from fusion_report.groups import Group
from fusion_report.measuring import difference_cell
from fusion_report.metric_names import label_of
from fusion_report.retention_checks import THRESHOLD, change_check
from fusion_report.study import Study
from fusion_report.table import Cell, empty
from fusion_report.tables.earlier_skills import caption_names, changes_since, first_runs
from fusion_report.tables.retention import condition_label
from fusion_report.tables.video import conditions_of, full_condition, video_groups

_GAIN = "score with every modality less that without video"
_KEPT = "interval not below 0"
JUDGED: tuple[Condition, ...] = ("none", "silence", "earlier_distractor")


def video_checks(study: Study) -> tuple[Check, ...]:
    """Return the gain of watching and hearing over hearing alone, and what became of the run that was taught to watch."""
    groups = [group for group in video_groups(study) if group.stage == "video"]
    if not groups:
        return (check(empty("The study has no run with video."), _GAIN, "interval above 0", above_zero),)
    return tuple(
        one for group in groups for one in (_gain(study, group), *_captions(study, group), *_retention(study, group))
    )


def _gain(study: Study, group: Group) -> Check:
    conditions = conditions_of(group)
    alone = [one for one in conditions if "video" not in one and one != "none" and "shuffled" not in one]
    files = study.files([group], full_condition(conditions)) if conditions else []
    what, threshold = f"{group.label}: {_GAIN}", "interval above 0"
    if not files or not alone:
        reason = " ".join(group.lacking(lambda run: run.card)) or "It was not scored with and without video."
        return check(empty(reason), what, threshold, above_zero)
    metric = "cider_d" if "cider_d" in files[0].metrics else next(iter(files[0].metrics))
    cell = difference_cell(study.measuring, group, group, metric, (full_condition(conditions), alone[0]))
    return check(cell, f"{group.label}: {label_of(metric)} {_GAIN[6:]}", threshold, above_zero)


def _captions(study: Study, group: Group) -> Iterator[Check]:
    """Yield whether the captions of the clips that the first run was tested on are as good as that run's."""
    names = caption_names(group)
    for name in names:
        first = first_runs(study, group, name)
        files = study.files([group], name)
        metric = "cider_d" if not files or "cider_d" in files[0].metrics else next(iter(files[0].metrics))
        cell = difference_cell(study.measuring, group, first, metric, (name, "audio"))
        yield check(cell, f"{group.label}: {label_of(metric)} {_since(name)}", _KEPT, _not_below_zero)
    if not names:
        reason = " ".join(group.lacking(lambda run: run.card)) or "The clips of the first run were not captioned again."
        yield check(empty(reason), f"{group.label}: captions since the first run", _KEPT, _not_below_zero)


def _since(name: str) -> str:
    return f"by {name.partition('-')[2]} alone less that of the run before video"


def _not_below_zero(cell: Cell) -> bool:
    return cell.high is not None and cell.high >= 0


def _retention(study: Study, group: Group) -> Iterator[Check]:
    """Yield whether the backbone still answers what it answered after the first run, under each condition."""
    for condition in JUDGED:
        found, lacking = changes_since(study, group, condition)
        what = f"{group.label}: Δ accuracy since the run before video, heard: {condition_label(condition)}"
        yield change_check(group, found, what) if found else check(empty(lacking), what, THRESHOLD, above_zero)
