"""The additive system against every other one: paired differences of all metrics, with intervals and p-values."""

from __future__ import annotations

from collections.abc import Sequence

from fusion_eval.errors import DataError
from fusion_eval.schemas.comparison import Comparison

from fusion_report.groups import Group
from fusion_report.measuring import lacking, scores_of
from fusion_report.metric_names import FALLBACK, label_of, present
from fusion_report.study import Study
from fusion_report.table import Cell, Column, Row, Table, difference, empty, words
from fusion_report.tables.captions import PAIRED, scored


def comparison_table(study: Study) -> Table:
    """Return a row for each other system after the same training."""
    groups = study.main(study.dataset)
    metrics = present(study.files(groups)) or (FALLBACK,)
    others = [group for group in groups if (one := study.reference(group.stage)) is not None and one is not group]
    rows = [Row(cells=(words(f"additive − {group.label}"), *_cells(study, group, metrics))) for group in others]
    if not rows:
        rows = [
            Row(cells=(words("(no run)"), *[empty("The study has no system beside the additive one.")] * len(metrics)))
        ]
    best = best_baseline(study)
    return Table(
        key="comparisons",
        title="Additive fusion against each other system",
        caption=(
            *scored(study, groups, metrics),
            PAIRED,
            *([f"The best baseline after cross-entropy is {best.label}."] if best is not None else []),
        ),
        columns=(
            Column(key="comparison", title="Difference", numeric=False),
            *(Column(key=name, title=label_of(name)) for name in metrics),
        ),
        rows=tuple(rows),
    )


def _cells(study: Study, group: Group, metrics: Sequence[str]) -> list[Cell]:
    try:
        found, sources = compare_to_additive(study, group, metrics)
    except DataError as error:
        return [empty(str(error))] * len(metrics)
    return [
        difference(found.metrics[name].difference, sources, found.metrics[name].reason)
        if name in found.metrics
        else empty(f"Not every run has {label_of(name)}.")
        for name in metrics
    ]


def compare_to_additive(study: Study, group: Group, metrics: Sequence[str]) -> tuple[Comparison, list[str]]:
    """Return additive less another system after the same training, and the files that it comes from.

    Raises:
        DataError: a side has no scores; the sentence says why.
    """
    reference = study.reference(group.stage, group.dataset)
    if reference is None:
        raise DataError("The study has no additive run to compare with.")
    sides = scores_of(reference), scores_of(group)
    for side, one in zip(sides, (reference, group), strict=True):
        if not side:
            raise DataError(lacking(one) or "The study has no such run.")
    shared = {run.entry.seed for run, _ in sides[0]} & {run.entry.seed for run, _ in sides[1]}
    kept = [[(run, one) for run, one in side if run.entry.seed in shared or not shared] for side in sides]
    sources = [run.place("scores/audio.json") for side in kept for run, _ in side]
    return study.measuring.comparison([one for _, one in kept[0]], [one for _, one in kept[1]], metrics), sources


def best_baseline(study: Study, stage: str = "xe") -> Group | None:
    """Return the system of the main table, additive left out, with the highest mean score after the same training."""
    found = []
    for group in study.main(study.dataset):
        if group.stage == stage and not group.system.startswith("additive"):
            values = [scores.metrics[study.score] for _, scores in scores_of(group) if study.score in scores.metrics]
            if values:
                found.append((sum(values) / len(values), group))
    return max(found, key=lambda pair: pair[0])[1] if found else None
