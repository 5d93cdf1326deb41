"""Hours until val reached a target, a point a seed; runs that never reached it are censored and drawn as arrows."""

from __future__ import annotations

from typing import Any

import altair
import polars

from fusion_report.figures.style import COLUMN, Figure, colour_of, finished, nothing
from fusion_report.metric_names import label_of
from fusion_report.study import Study
from fusion_report.target_hours import METRIC, target_of, target_times

KEY, TITLE = "target-hours", "Hours to a target"
_ROW = 26
_REACHED, _CENSORED = "reached", "not reached (at least)"


def target_figure(study: Study) -> Figure:
    """Return the figure: a row a system after cross-entropy."""
    groups = [group for group in study.main(study.dataset) if group.stage == "xe"]
    target = target_of(study)
    times = target_times(study, groups, target[0]) if target else []
    if target is None or not times:
        return nothing(KEY, TITLE, "No run of the main systems has been evaluated on val.")
    system = {group.label: group.system for group in groups}
    rows: list[dict[str, Any]] = [
        {
            "group": one.group,
            "system": system[one.group],
            "hours": one.hours,
            "seed": str(one.seed),
            "state": _REACHED if one.reached else _CENSORED,
        }
        for one in times
    ]
    return Figure(
        key=KEY,
        title=TITLE,
        caption=(
            f"Hours of training until val {label_of(METRIC)} reached {target[0]:.3f} ({target[1]}), a point a"
            " seed, evaluations included."
            " Arrows: the run ended before, so the time is longer than shown.",
        ),
        chart=finished(_chart(rows)),
        colours=tuple(dict.fromkeys(colour_of(row["system"]) for row in rows)),
        sources=tuple(dict.fromkeys(one.source for one in times)),
    )


def _chart(rows: list[dict[str, Any]]) -> Any:
    order = list(dict.fromkeys(row["group"] for row in rows))
    states = [state for state in (_REACHED, _CENSORED) if any(row["state"] == state for row in rows)]
    shapes = {_REACHED: "circle", _CENSORED: "triangle-right"}
    systems = list(dict.fromkeys(row["system"] for row in rows))
    colour = altair.Color(
        "system:N", scale=altair.Scale(domain=systems, range=[colour_of(one) for one in systems]), legend=None
    )
    return (
        altair.Chart(polars.DataFrame(rows))
        .mark_point(filled=True, size=40, opacity=1)
        .encode(
            y=altair.Y("group:N", sort=order, title=None, axis=altair.Axis(grid=False, labelLimit=150)),
            yOffset=altair.YOffset("seed:N"),
            x=altair.X("hours:Q", title="hours of training", scale=altair.Scale(zero=True, nice=True)),
            color=colour,
            shape=altair.Shape(
                "state:N",
                sort=states,
                scale=altair.Scale(domain=states, range=[shapes[state] for state in states]),
                legend=altair.Legend(title=None, orient="bottom", symbolFillColor="#444444"),
            ),
        )
        .properties(width=COLUMN - 130, height={"step": _ROW, "for": "position"})
    )
