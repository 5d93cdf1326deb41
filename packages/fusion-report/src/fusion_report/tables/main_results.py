"""Table 1, the systems on the main dataset, and Table 2, the same on the second one."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from fusion_eval.schemas import RunCard

from fusion_report.groups import Group
from fusion_report.measuring import difference_cell, value_cells
from fusion_report.metric_names import CONDITIONS, FALLBACK, label_of, present, score_metric
from fusion_report.study import SECONDARY_DATASET, Study, cards_of
from fusion_report.table import Cell, Column, Row, Table, empty, number, words
from fusion_report.tables.captions import PAIRED, scored

PER_PARAMETERS = 10_000_000
_CONTROLS = ("shuffled", "none", "class_prior", "nearest_neighbour")


def main_table(study: Study) -> Table:
    """Return Table 1: every system after cross-entropy and after self-critical training, with size and controls."""
    return _results(study, study.dataset, "main-results", f"Results on {study.dataset}")


def generalisation_table(study: Study) -> Table:
    """Return Table 2: the same on Clotho."""
    return _results(study, SECONDARY_DATASET, "generalisation", "Results on Clotho")


def _results(study: Study, dataset: str, key: str, title: str) -> Table:
    groups = study.main(dataset)
    files = study.files(groups)
    metrics = present(files) or (FALLBACK,)
    score = score_metric(files)
    rows = [_row(study, group, metrics, score) for group in groups]
    rows += _controls(study, dataset, metrics) if rows else [_nothing(dataset, metrics)]
    return Table(
        key=key,
        title=title,
        caption=(*scored(study, groups, metrics), PAIRED, *_size(groups, score)),
        columns=_columns(metrics, score),
        rows=tuple(rows),
    )


def _columns(metrics: Sequence[str], score: str) -> tuple[Column, ...]:
    return (
        Column(key="system", title="System", numeric=False),
        *(Column(key=name, title=label_of(name)) for name in metrics),
        Column(key="difference", title=f"Δ {label_of(score)} to additive"),
        Column(key="shuffled", title=f"{label_of(score)}, another clip's audio"),
        Column(key="parameters", title="Trainable"),
        Column(key="ratio", title="of additive"),
        Column(key="normalised", title=f"{label_of(score)} per 10M"),
    )


def _row(study: Study, group: Group, metrics: Sequence[str], score: str) -> Row:
    values = value_cells(study.measuring, group, metrics)
    other = value_cells(study.measuring, group, [score], "shuffled")[score]
    reference = study.reference(group.stage, group.dataset)
    return Row(
        cells=(
            words(group.label),
            *values.values(),
            difference_cell(study.measuring, group, reference, score),
            other,
            *_sizes(group, values.get(score)),
        )
    )


def _sizes(group: Group, score: Cell | None) -> tuple[Cell, Cell, Cell]:
    """Return the trainable parameters, their ratio to the additive system's, and the score per ten million of them."""
    cards = cards_of(group)
    if not cards:
        reason = " ".join(group.lacking(lambda run: run.card))
        return empty(reason), empty(reason), empty(reason)
    places = [place for place, _ in cards]
    total = fmean(card.parameters.total for _, card in cards)
    ratios = [card.parameters.ratio_to_reference for _, card in cards]
    known = [ratio for ratio in ratios if ratio is not None]
    per = None
    if score is not None and score.value is not None and total:
        per = score.value / total * PER_PARAMETERS
    return (
        number(total, places, digits=0, grouped=True),
        number(fmean(known) if known else None, places, digits=2, reason=None if known else "Its size is not matched."),
        number(per, places, digits=2, reason=None if per is not None else "There is no score to divide."),
    )


def _size(groups: Sequence[Group], score: str) -> list[str]:
    """Return the sentence on sizes that are not within 10% of the additive system's."""
    far = []
    for group in groups:
        ratios = [_ratio(card) for _, card in cards_of(group)]
        known = [ratio for ratio in ratios if ratio is not None]
        if known and abs(fmean(known) - 1) > 0.1:
            far.append(f"{group.label} {fmean(known):.2f}")
    if not far:
        return []
    return [
        f"Trainable parameters are within 10% of the additive system's, except of {', '.join(dict.fromkeys(far))};"
        f" the last column gives {label_of(score)} per ten million of them."
    ]


def _ratio(card: RunCard) -> float | None:
    return card.parameters.ratio_to_reference


def _controls(study: Study, dataset: str, metrics: Sequence[str]) -> list[Row]:
    """Return what no hearing, or simple hearing, reaches: the additive run with wrong or no audio, and two baselines."""
    reference = study.reference("xe", dataset)
    rows: list[Row] = []
    if reference is None:
        return rows
    for condition in _CONTROLS:
        if any(run.has(f"scores/{condition}.json") for run in reference.runs):
            cells = value_cells(study.measuring, reference, metrics, condition)
            nothing = [empty("A control is no trained system.")] * 5
            section = "Controls, of the additive system's runs" if not rows else None
            rows.append(Row(cells=(words(CONDITIONS[condition]), *cells.values(), *nothing), section=section))
    return rows


def _nothing(dataset: str, metrics: Sequence[str]) -> Row:
    reason = f"The study has no run of the main systems on {dataset}."
    return Row(cells=(words("(no run)"), *[empty(reason)] * (len(metrics) + 5)))
