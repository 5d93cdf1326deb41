"""Figure F1: the loss of training and the score on val against the step, of each system, seeds together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair
import polars

from fusion_report.curves import Points, RunCurves
from fusion_report.figures.seed_curves import curves_of, logs_of, over_seeds
from fusion_report.figures.style import COLUMN, DASHES, Figure, colour_of, finished, nothing, system_colour, ticks
from fusion_report.study import Study

KEY, TITLE = "curves", "Training"
_POINTS = 60
_VAL = "val CIDEr-D"


def _val(run: RunCurves) -> Points:
    return run.series.get("cider_d", {}).get(_VAL, {})


def _loss(run: RunCurves) -> Points:
    return run.series.get("loss", {}).get("loss", {})


def training(study: Study) -> Figure:
    """Return the figure: a panel for val after cross-entropy, one for its loss, one for val in self-critical training."""
    groups = study.main(study.dataset)
    stages = {
        stage: [(group.system, curves_of(group)) for group in groups if group.stage == stage and not group.variant]
        for stage in ("xe", "scst")
    }
    rows = {
        "val": _rows(stages["xe"], _val, smooth=False),
        "loss": _rows(stages["xe"], _loss, smooth=True),
        "scst": _rows(stages["scst"], _val, smooth=False),
    }
    titles = {"val": f"{_VAL}, cross-entropy", "loss": "loss, moving average", "scst": f"{_VAL}, self-critical"}
    systems = list(dict.fromkeys(row["system"] for found in rows.values() for row in found))
    panels = [_panel(rows[name], titles[name], systems, points=name != "loss") for name in titles if rows[name]]
    if not panels:
        return nothing(KEY, TITLE, "No run of the main systems has a log with a step.")
    return Figure(
        key=KEY,
        title=TITLE,
        caption=(
            "Score on val (CIDEr-D, greedy) and loss of training against optimiser steps; mean over seeds with ±"
            " standard deviation."
            " Losses of systems with different objectives do not compare.",
        ),
        chart=finished(altair.vconcat(*panels, spacing=10).resolve_scale(color="shared", strokeDash="shared")),
        colours=tuple(dict.fromkeys(map(colour_of, systems))),
        sources=tuple(place for group in groups for place in logs_of(group)),
    )


def _rows(found: Sequence[tuple[str, list[RunCurves]]], choose: Any, smooth: bool) -> list[dict[str, Any]]:
    rows = []
    for system, runs in found:
        points = over_seeds(runs, choose, smooth)
        every = max(1, len(points) // _POINTS)
        rows += [
            {"system": system, "step": one.step, "value": one.mean, "low": one.low, "high": one.high}
            for place, one in enumerate(points)
            if place % every == 0 or place == len(points) - 1
        ]
    return rows


def _panel(rows: Sequence[dict[str, Any]], title: str, systems: Sequence[str], points: bool) -> Any:
    x = altair.X(
        "step:Q", title="step", axis=altair.Axis(grid=False, tickCount=5), scale=altair.Scale(nice=False, zero=True)
    )
    y = altair.Y("value:Q", title=title, scale=ticks([row[name] for row in rows for name in ("low", "high")]))
    dash = altair.StrokeDash(
        "system:N",
        sort=list(systems),
        scale=altair.Scale(
            domain=list(systems), range=[list(DASHES[place % len(DASHES)]) for place in range(len(systems))]
        ),
        legend=None,
    )
    base = altair.Chart(polars.DataFrame(rows)).encode(
        x=x, color=system_colour(systems, symbolType="stroke", symbolStrokeWidth=2)
    )
    band = base.mark_area(opacity=0.13).encode(y=altair.Y("low:Q", scale=y["scale"]), y2="high:Q")
    layers = [band, base.mark_line(strokeWidth=1.6).encode(y=y, strokeDash=dash)]
    if points:
        layers.append(base.mark_point(filled=True, size=22, opacity=1).encode(y=y))
    return altair.layer(*layers).properties(width=COLUMN - 62, height=125)
