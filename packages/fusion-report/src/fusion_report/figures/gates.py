"""Figure 4: the gates by layer while training goes on, for each choice of sites."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair
import polars

from fusion_report.figures.seed_curves import curves_of, logs_of, over_seeds
from fusion_report.figures.style import COLUMN, LABEL, Figure, finished, nothing, ticks
from fusion_report.groups import REFERENCE, Group, used_by
from fusion_report.palette import CATEGORIES
from fusion_report.study import Study

KEY, TITLE = "gates", "Gates by layer and step"
MOST_SITES = 6  # of more the mean is drawn
_POINTS = 60  # of a curve


def gates(study: Study) -> Figure:
    """Return the figure: a panel a choice of sites, a line a site with its deviation over seeds."""
    groups = [
        group
        for group in used_by(study.groups, "B1", stages=("xe",))
        if group.system == REFERENCE and group.dataset == study.dataset
    ]
    panels = {group.variant or "default": rows for group in groups if (rows := _rows(group))}
    if not panels:
        return nothing(KEY, TITLE, "No run of the sites' ablation (B1) has logged its gates.")
    sites = sorted({row["site"] for rows in panels.values() for row in rows}, key=_order)
    values = [row[name] for rows in panels.values() for row in rows for name in ("low", "high")]
    width = (COLUMN - 62 - 12 * (len(panels) - 1)) / len(panels)
    charts = [
        _panel(name, rows, sites, values, width, first=place == 0) for place, (name, rows) in enumerate(panels.items())
    ]
    return Figure(
        key=KEY,
        title=TITLE,
        caption=(
            "|α| of each site over optimiser steps, for each choice of sites; mean over seeds with ± standard"
            " deviation. α is the size"
            " of what is added relative to the residual stream.",
        ),
        chart=finished(altair.hconcat(*charts, spacing=12).resolve_scale(color="shared", strokeDash="shared")),
        colours=CATEGORIES[: len(sites)],
        sources=tuple(place for group in groups for place in logs_of(group)),
    )


def _rows(group: Group) -> list[dict[str, Any]]:
    runs = curves_of(group)
    names = sorted({site for run in runs for site in run.series.get("gates", {})}, key=_order)
    if len(names) > MOST_SITES:
        return []
    rows = []
    for site in names:
        points = over_seeds(runs, lambda run, site=site: run.series.get("gates", {}).get(site, {}))  # type: ignore[misc]
        every = max(1, len(points) // _POINTS)
        kept = [point for place, point in enumerate(points) if place % every == 0 or place == len(points) - 1]
        rows += [
            {"site": site, "step": one.step, "gate": abs(one.mean), "low": one.low, "high": one.high} for one in kept
        ]
    return rows


def _order(site: str) -> tuple[int, str]:
    return (int(site), site) if site.isdecimal() else (10**6, site)


def _panel(
    name: str, rows: Sequence[dict[str, Any]], sites: Sequence[str], values: Sequence[float], width: float, first: bool
) -> Any:
    title = name if name != "default" else "sites " + ", ".join(dict.fromkeys(row["site"] for row in rows))
    axis = altair.Axis() if first else altair.Axis(labels=False, ticks=False, domain=False)
    y = altair.Y("gate:Q", title="gate |α|" if first else None, scale=ticks(values, zero=True), axis=axis)
    x = altair.X(
        "step:Q",
        title="step",
        scale=altair.Scale(domain=[0, max(row["step"] for row in rows)], nice=False),
        axis=altair.Axis(tickCount=2, grid=False, tickMinStep=1),
    )
    scale = altair.Scale(domain=list(sites), range=list(CATEGORIES[: len(sites)]))
    legend = altair.Legend(title="block", orient="bottom", symbolType="stroke", symbolStrokeWidth=2, symbolOpacity=1)
    colour = altair.Color("site:N", sort=list(sites), scale=scale, legend=legend)
    base = altair.Chart(polars.DataFrame(rows)).encode(x=x, color=colour)
    band = base.mark_area(opacity=0.2).encode(y=altair.Y("low:Q", scale=y["scale"], axis=axis), y2="high:Q")
    return altair.layer(band, base.mark_line(strokeWidth=1.8).encode(y=y)).properties(
        width=width, height=150, title=altair.TitleParams(title, fontSize=LABEL, fontWeight="normal", frame="group")
    )
