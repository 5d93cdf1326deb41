"""The retention table: what the backbone answered before it learned to hear, and after, with bounds that can fail."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev

from fusion_eval.errors import DataError
from fusion_eval.schemas.retention import CONDITIONS, Change, Condition, Retention, Verdict

from fusion_report.groups import Group, used_by
from fusion_report.results import Run
from fusion_report.study import MAIN, Study
from fusion_report.table import Cell, Column, Row, Table, empty, number, words

FILE = "retention.json"
POINTS = 100  # a share of 1 is 100 points
CONDITION_LABELS: dict[Condition, str] = {"earlier_distractor": "distractor of the earlier run"}
"""What a condition is called where its own name does not say it."""
STAGES = ("xe", "scst")
_IDENTICAL = "Every logit is the same to the bit, so there is nothing to bound."
_TITLES = {"xe": "XE", "scst": "SCST"}
_AFTER = (
    ("after", "after {}"),
    ("delta", "Δ {}"),
    ("bound", "bound {}"),
    ("flips", "lost / gained {}"),
    ("verdict", "verdict {}"),
)


def retention_table(study: Study) -> Table:
    """Return a row for each system and condition: before, after cross-entropy and after self-critical training."""
    groups = [group for group in used_by(study.groups, MAIN, "C1") if group.stage in STAGES]
    found = {group.key: read_retention(group) for group in groups}
    rows: list[Row] = []
    for label in dict.fromkeys((group.system, group.variant, group.dataset) for group in groups):
        by_stage = {group.stage: group for group in groups if (group.system, group.variant, group.dataset) == label}
        rows += _rows_of(by_stage, found)
    files = [retention for pairs in found.values() for _, retention in pairs]
    if not rows:
        rows = [Row(cells=(words("(no run)"), *[empty("Retention was not measured in this study.")] * 12))]
    return Table(
        key="retention",
        title="Retention of the backbone's skills",
        caption=_caption(files),
        columns=(
            Column(key="system", title="System", numeric=False),
            Column(key="condition", title="Heard", numeric=False),
            Column(key="before", title="before"),
            *(
                Column(
                    key=f"{key}_{stage}", title=title.format(_TITLES[stage]), numeric=key not in ("verdict", "flips")
                )
                for stage in STAGES
                for key, title in _AFTER
            ),
        ),
        rows=tuple(rows),
    )


def read_retention(group: Group) -> list[tuple[Run, Retention]]:
    """Return what the seeds still answer, those that were asked."""
    found = []
    for run in group.runs:
        try:
            found.append((run, run.retention()))
        except DataError:
            continue
    return found


def _rows_of(by_stage: dict[str, Group], found: dict[str, list[tuple[Run, Retention]]]) -> list[Row]:
    measured = {stage: found[group.key] for stage, group in by_stage.items()}
    conditions = [
        condition
        for condition in CONDITIONS
        if any(condition in retention.conditions for pairs in measured.values() for _, retention in pairs)
    ]
    first = next(iter(by_stage.values()))
    name = f"{first.system}, {first.variant}" if first.variant else first.system
    if not conditions:
        reason = " ".join(reason for group in by_stage.values() for reason in group.lacking(Run.retention))
        return [Row(cells=(words(name), *[empty(reason or "Retention was not measured.")] * 12))]
    rows = []
    for condition in conditions:
        after = [
            cell for stage in STAGES for cell in after_cells(by_stage.get(stage), measured.get(stage, []), condition)
        ]
        pairs = next(pairs for pairs in measured.values() if pairs)
        rows.append(Row(cells=(words(name), words(condition_label(condition)), before_cell(pairs, condition), *after)))
    return rows


Found = tuple[tuple[str, ...], Change, Verdict]
"""The files, the change by the scoring of the verdict, and the verdict."""


def changes(pairs: Sequence[tuple[Run, Retention]], condition: Condition) -> list[Found]:
    """Return what became of each seed's answers since the backbone."""
    return [
        ((run.place(FILE),), one.scorings[retention.scoring], one.verdict)
        for run, retention in pairs
        if (one := retention.conditions.get(condition)) is not None and retention.scoring in one.scorings
    ]


def before_cell(pairs: Sequence[tuple[Run, Retention]], condition: Condition) -> Cell:
    """Return what the backbone answered rightly before anything was trained, in %."""
    found = changes(pairs, condition)
    return right_before(found) if found else empty(f"The condition {condition} was not measured.")


def right_before(found: Sequence[Found]) -> Cell:
    """Return the share of right answers before, in %."""
    return number(fmean(change.before for _, change, _ in found) * POINTS, places_of(found), digits=1)


def after_cells(group: Group | None, pairs: Sequence[tuple[Run, Retention]], condition: Condition) -> list[Cell]:
    """Return after, Δ, the worst seed's bound, the flips and the worst verdict."""
    found = changes(pairs, condition)
    if not found:
        reason = (
            "The study has no such run."
            if group is None
            else " ".join(group.lacking(Run.retention)) or f"The condition {condition} was not measured."
        )
        return [empty(reason)] * len(_AFTER)
    lacking = " ".join(group.lacking(Run.retention)) if group is not None else ""
    return change_cells(found, lacking)


def change_cells(found: Sequence[Found], lacking: str = "") -> list[Cell]:
    """Return after, Δ, the worst seed's bound, the flips and the worst verdict.

    Args:
        found: a seed a place.
        lacking: why other seeds are not among them.
    """
    places = places_of(found)
    deltas = [change.delta * POINTS for _, change, _ in found]
    lost, gained = (sum(getattr(change, name) for _, change, _ in found) for name in ("lost", "gained"))
    verdicts = [verdict for _, _, verdict in found]
    worst = next(verdict for verdict in ("lost", "undecided", "kept", "identical") if verdict in verdicts)
    return [
        number(fmean(change.after for _, change, _ in found) * POINTS, places, digits=1),
        number(
            fmean(deltas),
            places,
            digits=2,
            signed=True,
            stdev=stdev(deltas) if len(deltas) > 1 else None,
            reason=lacking or None,
        ),
        empty(_IDENTICAL)
        if set(verdicts) == {"identical"}
        else number(min(change.bound for _, change, _ in found) * POINTS, places, digits=2, signed=True),
        Cell(text=f"{lost} / {gained}", sources=places),
        Cell(text=worst, sources=places),
    ]


def condition_label(condition: Condition) -> str:
    """Return what tables call a condition."""
    return CONDITION_LABELS.get(condition, condition)


def places_of(found: Sequence[Found]) -> tuple[str, ...]:
    """Return the files of all seeds."""
    return tuple(dict.fromkeys(place for places, _, _ in found for place in places))


def _caption(files: Sequence[Retention]) -> tuple[str, ...]:
    if not files:
        return ("Nothing has been measured.",)
    probes = dict.fromkeys(
        (one.probe, one.probe_sha256[:12], one.backbone.name, one.backbone.precision) for one in files
    )
    sizes = sorted(
        {change.n for one in files for condition in one.conditions.values() for change in condition.scorings.values()}
    )
    scorings = ", ".join(dict.fromkeys(one.scoring.replace("_", " ") for one in files))
    margin = max(one.margin for one in files) * POINTS
    methods = {name: text for one in files for name, text in one.method.items()}
    return (
        *(
            f"Probe {name} ({digest}) asked of {backbone} in {precision}."
            for name, digest, backbone, precision in probes
        ),
        f"n = {', '.join(map(str, sizes))} questions by scoring; right answers in % by {scorings}; Δ in points, mean over seeds ±"
        " standard deviation (n − 1).",
        f"The bound is the lower end of the one-sided 95% interval of Δ of the worst seed; kept means that it is at least"
        f" −{abs(margin):g} points. Lost and gained questions are summed over the seeds.",
        *(
            f"{name.replace('_', ' ').capitalize()}: {text}."
            for name, text in methods.items()
            if name in ("bound", "verdict")
        ),
    )
