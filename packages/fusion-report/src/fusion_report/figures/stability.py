"""Figure 3, the stability frontier: what is heard against what is still answered, over checkpoints and at the end."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import altair
import polars
from fusion_eval.errors import DataError

from fusion_report.figures.style import (
    COLUMN,
    RULE,
    SHAPES,
    VARIANT_SHAPES,
    Figure,
    colour_of,
    finished,
    nothing,
    system_colour,
    ticks,
)
from fusion_report.groups import Group, used_by
from fusion_report.measuring import value_cells
from fusion_report.metric_names import label_of
from fusion_report.results import Run
from fusion_report.study import MAIN, Study
from fusion_report.tables.retention import POINTS, changes

KEY, TITLE = "stability", "Stability frontier"
STABILITY = "stability.jsonl"
MARGIN = -0.5  # points: the largest loss that counts as none
_CONDITIONS = ("distractor", "none", "silence")


def stability(study: Study) -> Figure:
    """Return the figure: the way over checkpoints where it was logged, and the ends with their errors."""
    groups = [group for group in used_by(study.groups, MAIN, "C1") if group.dataset == study.dataset]
    ends, sources = _ends(study, groups)
    ways, logs = _ways(groups)
    names = list(dict.fromkeys(row["system"] for row in (*ways, *ends)))
    panels = []
    if ways:
        panels.append(_way_panel(ways, names))
    if ends:
        panels.append(_end_panel(study, ends, names))
    if not panels:
        return nothing(KEY, TITLE, "Retention was measured neither while training nor after it.")
    return Figure(
        key=KEY,
        title=TITLE,
        caption=(
            "What is heard against the change of accuracy on the retention probe, in points, with a clip bound"
            " that has nothing to do"
            " with the questions. Each line follows one system's checkpoints on val, mean over seeds; ends on"
            " test, bars: 95% interval"
            f" over clips, and ± 1.96 standard errors of Δ. Dashed: {MARGIN:+.1f} points, the largest loss that counts as none.",
        ),
        chart=finished(altair.vconcat(*panels, spacing=14).resolve_scale(color="shared", shape="shared")),
        colours=tuple(dict.fromkeys(map(colour_of, names))),
        sources=tuple(dict.fromkeys((*sources, *logs))),
    )


def _ways(groups: Sequence[Group]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the mean over seeds at each step of the groups after cross-entropy."""
    rows, places = [], []
    for group in groups:
        if group.stage != "xe" or group.variant:
            continue
        by_step: dict[int, list[tuple[float, float]]] = {}
        for run in group.done(STABILITY):
            places.append(run.place(STABILITY))
            for step, score, change in _checkpoints(run):
                by_step.setdefault(step, []).append((score, change))
        for step, found in sorted(by_step.items()):
            rows.append(
                {
                    "system": group.system,
                    "step": step,
                    "score": fmean(score for score, _ in found),
                    "change": fmean(change for _, change in found),
                }
            )
    return rows, places


def _checkpoints(run: Run) -> list[tuple[int, float, float]]:
    """Return step, score and change of accuracy in points; of a step done again the last row."""
    found: dict[int, tuple[float, float]] = {}
    for row in run.lines(STABILITY):
        before, step, score = row.get("before"), row.get("step"), row.get("score")
        after = next((row[name] for name in _CONDITIONS if isinstance(row.get(name), dict)), None)
        if (
            not isinstance(before, dict)
            or after is None
            or not isinstance(step, int)
            or not isinstance(score, int | float)
        ):
            continue
        scoring = next((name for name in ("likelihood", "exact", "contains") if name in before and name in after), None)
        if scoring is not None:
            found[step] = float(score), (after[scoring] - before[scoring]) * POINTS
    return [(step, *values) for step, values in sorted(found.items())]


def _ends(study: Study, groups: Sequence[Group]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return for each group its test score and its change of accuracy after training."""
    rows, places = [], []
    for group in groups:
        pairs = []
        for run in group.runs:
            try:
                pairs.append((run, run.retention()))
            except DataError:
                continue
        condition = next((name for name in _CONDITIONS if pairs and name in pairs[0][1].conditions), None)
        cell = value_cells(study.measuring, group, [study.score])[study.score]
        if condition is None or cell.value is None:
            continue
        found = changes(pairs, condition)
        if not found:
            continue
        delta = fmean(change.delta for _, change, _ in found) * POINTS
        error = 1.96 * fmean(change.standard_error for _, change, _ in found) * POINTS
        places += [*cell.sources, *(place for own, _, _ in found for place in own)]
        rows.append(
            {
                "system": group.system,
                "kind": _kind(group),
                "score": cell.value,
                "low": cell.value if cell.low is None else cell.low,
                "high": cell.value if cell.high is None else cell.high,
                "change": delta,
                "change_low": delta - error,
                "change_high": delta + error,
            }
        )
    return rows, places


def _kind(group: Group) -> str:
    kind = "+ SCST" if group.stage == "scst" else "XE"
    return f"{kind}, {group.variant}" if group.variant else kind


def _shapes(kinds: Sequence[str]) -> list[str]:
    """Return a shape a kind, those of variants apart from the systems' own."""
    variants = itertools.cycle(VARIANT_SHAPES)
    return [SHAPES[kind] if kind in SHAPES else next(variants) for kind in kinds]


def _margin_rule(x: Any) -> Any:
    frame = polars.DataFrame({"change": [MARGIN]})
    return altair.Chart(frame).mark_rule(color=RULE, strokeDash=[4, 3]).encode(x=x)


def _way_panel(rows: Sequence[dict[str, Any]], systems: Sequence[str]) -> Any:
    changes_seen = [*(row["change"] for row in rows), 0.0, MARGIN]
    x = altair.X("change:Q", title="Δ accuracy, points (checkpoints)", scale=ticks(changes_seen))
    y = altair.Y("score:Q", title="val CIDEr-D", scale=ticks([row["score"] for row in rows]))
    base = altair.Chart(polars.DataFrame(rows)).encode(x=x, y=y, color=system_colour(systems), order="step:Q")
    return altair.layer(
        _margin_rule(x), base.mark_line(strokeWidth=1.4), base.mark_point(filled=True, size=26, opacity=1)
    ).properties(width=COLUMN - 62, height=150)


def _end_panel(study: Study, rows: Sequence[dict[str, Any]], systems: Sequence[str]) -> Any:
    values = [row[name] for row in rows for name in ("change_low", "change_high")]
    x = altair.X("change:Q", title="Δ accuracy, points (after training)", scale=ticks([*values, 0.0, MARGIN]))
    y = altair.Y(
        "score:Q",
        title=f"test {label_of(study.score)}",
        scale=ticks([row[name] for row in rows for name in ("low", "high")]),
    )
    colour = system_colour(systems)
    base = altair.Chart(polars.DataFrame(rows)).encode(color=colour)
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    shape = altair.Shape(
        "kind:N",
        sort=kinds,
        scale=altair.Scale(domain=kinds, range=_shapes(kinds)),
        legend=altair.Legend(title=None, orient="bottom", columns=2, symbolFillColor="#444444")
        if len(kinds) > 1
        else None,
    )
    return altair.layer(
        _margin_rule(x),
        base.mark_rule(strokeWidth=1.2).encode(x=altair.X("change_low:Q", scale=x["scale"]), x2="change_high:Q", y=y),
        base.mark_rule(strokeWidth=1.2).encode(x=x, y=altair.Y("low:Q", scale=y["scale"]), y2="high:Q"),
        base.mark_point(filled=True, size=55, opacity=1).encode(x=x, y=y, shape=shape),
    ).properties(width=COLUMN - 62, height=170)
