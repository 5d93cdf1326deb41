"""The second modality by the same recipe: what video and audio are worth alone and together, and what became of the rest."""

from __future__ import annotations

from fusion_eval.schemas import Scores

from fusion_report.groups import Group
from fusion_report.measuring import difference_cell, scores_of, value_cells
from fusion_report.metric_names import METRICS, label_of
from fusion_report.study import Study
from fusion_report.table import Column, Row, Table, empty, words
from fusion_report.tables.captions import PAIRED, scored

EARLIER = "kept-"
"""Begins the names of captions of the clips that the run before was tested on: another test set."""
NOTHING = ("none", "neither")
"""Names of the condition without a modality bound."""


def video_groups(study: Study) -> list[Group]:
    """Return the groups that were trained to watch."""
    return [group for group in study.groups if group.stage == "video" or group.uses("C2")]


def full_condition(conditions: list[str]) -> str:
    """Return the condition in which all modalities are right: the one that names most of them."""
    named = [one for one in conditions if "shuffled" not in one and one not in NOTHING]
    return max(named or conditions, key=lambda one: (one.count("+") + one.count("_"), "video" in one))


def conditions_of(group: Group) -> list[str]:
    """Return the conditions that some run of a group was scored under, val and the clips of an earlier run left out."""
    names = {path.stem for run in group.runs for path in (run.folder / "scores").glob("*.json")}
    return sorted(name for name in names - {"val", "oracle", "reranked"} if not name.startswith(EARLIER))


def video_table(study: Study) -> Table:
    """Return a row a condition of the runs with video."""
    groups = [group for group in video_groups(study) if group.stage == "video"]
    files = [
        scores for group in groups for condition in conditions_of(group) for _, scores in scores_of(group, condition)
    ]
    metrics = _metrics(files)
    rows = [row for group in groups for row in _rows(study, group, metrics)]
    if not rows:
        reason = (
            " ".join(reason for group in groups for reason in group.lacking(lambda run: run.card))
            or "The study has no run with video."
        )
        rows = [Row(cells=(words("(no run)"), *[empty(reason)] * (len(metrics) + 1)))]
    return Table(
        key="video",
        title="The second modality",
        caption=(
            *scored(study, groups, metrics),
            f"Δ is the row with every modality less this one. {PAIRED}",
        ),
        columns=(
            Column(key="heard", title="Watched and heard", numeric=False),
            *(Column(key=name, title=label_of(name)) for name in metrics),
            Column(key="difference", title=f"Δ {label_of(metrics[0])} of all to this"),
        ),
        rows=tuple(rows),
    )


def _metrics(files: list[Scores]) -> tuple[str, ...]:
    names = {name for one in files for name in one.metrics if name not in one.oracle}
    answers = sorted(name for name in names if "accuracy" in name and name not in METRICS)
    return (*(name for name in METRICS if name in names), *answers) or ("cider_d",)


def _rows(study: Study, group: Group, metrics: tuple[str, ...]) -> list[Row]:
    conditions = conditions_of(group)
    if not conditions:
        return []
    full = full_condition(conditions)
    rows = []
    for condition in [full, *(one for one in conditions if one != full)]:
        cells = value_cells(study.measuring, group, metrics, condition)
        gain = (
            empty("This row is what the others are compared with.")
            if condition == full
            else difference_cell(study.measuring, group, group, metrics[0], (full, condition))
        )
        section = group.label if condition == full else None
        rows.append(Row(cells=(words(condition.replace("_", " ")), *cells.values(), gain), section=section))
    return rows
