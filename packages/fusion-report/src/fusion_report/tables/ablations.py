"""Table 3: what sites, tokens and width, and the auxiliary loss are worth, each against the default additive system."""

from __future__ import annotations

from statistics import fmean, stdev

from fusion_report.groups import REFERENCE, Group, used_by
from fusion_report.measuring import difference_cell, value_cells
from fusion_report.metric_names import FALLBACK, label_of, present, score_metric
from fusion_report.study import Study, cards_of
from fusion_report.table import Cell, Column, Row, Table, empty, number, words
from fusion_report.tables.captions import PAIRED, scored

SECTIONS = {
    "B1": "Sites",
    "B2": "Audio tokens and projector width",
    "B3": "Objective",
    "contingency": "Contingencies",
}
DEFAULT = "default"


def ablation_table(study: Study) -> Table:
    """Return the ablations, a section an experiment."""
    groups = used_by(study.groups, *SECTIONS)
    files = study.files(groups)
    metrics = present(files) or (FALLBACK,)
    score = score_metric(files)
    rows = []
    for experiment, title in SECTIONS.items():
        members = used_by(study.groups, experiment)
        if members:
            new = [_row(study, group, metrics, score) for group in members]
            rows += [new[0].model_copy(update={"section": title}), *new[1:]]
        elif experiment != "contingency":
            reason = f"The study has no run of {experiment}."
            rows.append(Row(cells=(words("(no run)"), *[empty(reason)] * (len(metrics) + 4)), section=title))
    return Table(
        key="ablations",
        title="Ablations",
        caption=(
            *scored(study, groups, metrics),
            f"Differences are to the default of the same system after the same training. {PAIRED}",
            "Gates are the mean of |α| (|tanh g| of cross-attention) by site after training; of many sites the mean.",
        ),
        columns=(
            Column(key="setting", title="Setting", numeric=False),
            *(Column(key=name, title=label_of(name)) for name in metrics),
            Column(key="difference", title=f"Δ {label_of(score)}"),
            Column(key="gates", title="Gates by site", numeric=False),
            Column(key="parameters", title="Trainable"),
            Column(key="step_seconds", title="Step, s"),
        ),
        rows=tuple(rows),
    )


def _row(study: Study, group: Group, metrics: tuple[str, ...], score: str) -> Row:
    default = next(
        (
            one
            for one in study.groups
            if (one.system, one.stage, one.dataset, one.variant) == (group.system, group.stage, group.dataset, "")
        ),
        None,
    )
    return Row(
        cells=(
            words(_label(group)),
            *value_cells(study.measuring, group, metrics).values(),
            difference_cell(study.measuring, group, default, score),
            _gates(group),
            *_cost(group),
        )
    )


def _label(group: Group) -> str:
    label = group.label if group.system != REFERENCE else group.label.removeprefix(f"{REFERENCE}, ")
    return f"{label}, {DEFAULT}" if not group.variant else label


def _gates(group: Group) -> Cell:
    by_site: dict[int, list[float]] = {}
    places = []
    for place, card in cards_of(group):
        places.append(place)
        for site, gate in (card.system.final_gates or {}).items():
            by_site.setdefault(site, []).append(abs(gate))
    if not by_site:
        return empty(" ".join(group.lacking(lambda run: run.card)) or "The system has no gates.")
    if len(by_site) > 4:
        mean = fmean(value for values in by_site.values() for value in values)
        return Cell(text=f"{mean:.3f} (mean of {len(by_site)})", sources=tuple(places))
    said = ", ".join(f"{site}: {fmean(values):.3f}" for site, values in sorted(by_site.items()))
    return Cell(text=said, sources=tuple(places))


def _cost(group: Group) -> tuple[Cell, Cell]:
    cards = cards_of(group)
    if not cards:
        reason = " ".join(group.lacking(lambda run: run.card))
        return empty(reason), empty(reason)
    places = [place for place, _ in cards]
    seconds = [
        card.cost.hours * 3600 / card.training.steps for _, card in cards if card.cost.hours and card.training.steps
    ]
    return (
        number(fmean(card.parameters.total for _, card in cards), places, digits=0, grouped=True),
        number(
            fmean(seconds) if seconds else None,
            places,
            digits=2,
            stdev=stdev(seconds) if len(seconds) > 1 else None,
            reason=None if seconds else "The run card states no hours.",
        ),
    )
