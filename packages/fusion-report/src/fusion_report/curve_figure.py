"""The figure of the curves of runs: a panel a quantity, one run by its series or several runs overlaid."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import altair
import polars

from fusion_report.curves import PANELS, Points, RunCurves, smoothed
from fusion_report.figures.style import finished, write
from fusion_report.palette import CATEGORIES

MOST_SERIES = 6  # more of them are shown as their mean and range
DASHES = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [4, 1], [1, 3]]
MOST_POINTS = 30  # steps of a curve whose points are drawn
COLUMNS = 2
_SIZE = {"width": 380, "height": 170}
_SYMBOL: dict[str, Any] = {"symbolType": "stroke", "symbolOpacity": 1, "symbolStrokeWidth": 2.5}
_NOISY = (
    "loss",
    "contrastive",
    "reward",
    "length",
    "entropy",
    "divergence",
    "residual_drift",
)  # shown as a moving average, each step faint


def draw_curves(runs: Sequence[RunCurves], stem: Path) -> Path:
    """Draw the runs; write PNG and SVG beside each other and return the PNG's path.

    Colour tells the series of one run apart; of several runs it tells the runs apart, and dashes the series.
    """
    present = [panel for panel in PANELS if any(_is_drawn(run, panel) for run in runs)]
    panels = [_panel(runs, panel, named=panel == present[0]) for panel in present]
    chart = altair.concat(*panels, columns=COLUMNS, spacing={"row": 18, "column": 30}).resolve_scale(
        color="shared" if len(runs) > 1 else "independent", strokeDash="independent"
    )
    write(finished(chart), stem.with_suffix(""), ("png", "svg"))
    return stem.with_suffix(".png")


def _is_drawn(run: RunCurves, panel: str) -> bool:
    """Say whether there is something to see; a divergence that is not computed is logged as 0."""
    values = [value for points in run.series.get(panel, {}).values() for value in points.values()]
    return any(values) if panel == "divergence" else bool(values)


def _panel(runs: Sequence[RunCurves], panel: str, named: bool) -> Any:
    """Draw one panel; in the named one the marks carry their words."""
    frame = _frame(runs, panel)
    x = altair.X(
        "step:Q",
        title="step",
        scale=altair.Scale(domain=[0, max(run.step for run in runs)], nice=False),
        axis=altair.Axis(tickMinStep=1, tickCount=6, grid=False),
    )
    axis = altair.Axis(format="~e" if panel == "learning_rates" else "~g", tickCount=5)
    y = altair.Y("value:Q", title=None, scale=altair.Scale(zero=panel == "learning_rates"), axis=axis)
    base = altair.Chart(frame).encode(x=x, y=y, detail=["run:N", "series:N"], **_colours(runs, frame))
    layers = [_rules(runs, x, named)] if any(run.marks for run in runs) else []
    if frame["low"].count():
        band = altair.Chart(frame.drop_nulls("low")).mark_area(opacity=0.15)
        layers.append(band.encode(x=x, y=altair.Y("low:Q", title=None), y2="high:Q", color=base.encoding.color))
    if panel in _NOISY:
        layers.append(base.mark_line(strokeWidth=1, opacity=0.3))
        layers.append(base.encode(y=altair.Y("smooth:Q", title=None)).mark_line(strokeWidth=2))
    else:
        layers.append(base.mark_line(strokeWidth=2))
        if frame["step"].n_unique() <= MOST_POINTS:
            points = altair.Chart(frame).mark_point(size=28, filled=True, opacity=1)
            layers.append(points.encode(x=x, y=y, color=base.encoding.color))
    return altair.layer(*layers).properties(title=_title(panel, frame), **_SIZE)


def _title(panel: str, frame: polars.DataFrame) -> str:
    if panel in _NOISY:
        return f"{PANELS[panel]} (faint: each step)"
    return f"{PANELS[panel]} (many sites: mean and range)" if frame["low"].count() else PANELS[panel]


def _frame(runs: Sequence[RunCurves], panel: str) -> polars.DataFrame:
    """Return a panel's values in long form; of many series their mean, with the lowest and highest."""
    rows: list[dict[str, Any]] = []
    for run in runs:
        series = run.series.get(panel, {})
        if len(series) > MOST_SERIES:
            rows += _ranges(run.run, list(series.values()))
            continue
        for name, points in _alike(series).items():
            smooth = smoothed(points)
            rows += [
                {"run": run.run, "series": name, "step": step, "value": value, "smooth": smooth[step]}
                for step, value in sorted(points.items())
            ]
    types = {"step": polars.Int64, "value": polars.Float64, "smooth": polars.Float64}
    return polars.DataFrame(
        rows, {"run": polars.String, "series": polars.String, **types, "low": polars.Float64, "high": polars.Float64}
    )


def _alike(series: Mapping[str, Points]) -> dict[str, Points]:
    """Put series of the same values together, so that none hides another."""
    groups: list[tuple[list[str], Points]] = []
    for name in sorted(series, key=_site_order):
        for names, points in groups:
            if points == series[name]:
                names.append(name)
                break
        else:
            groups.append(([name], series[name]))
    return {", ".join(names): points for names, points in groups}


def _ranges(run: str, series: Sequence[Points]) -> list[dict[str, Any]]:
    """Return mean, lowest and highest of the series at each step that all of them have."""
    rows = []
    for step in sorted(set.intersection(*(set(points) for points in series))):
        values = [points[step] for points in series]
        mean = sum(values) / len(values)
        rows.append(
            {"run": run, "series": f"mean of {len(values)}", "step": step, "value": mean, "smooth": mean}
            | {"low": min(values), "high": max(values)}
        )
    return rows


def _site_order(name: str) -> int:
    """Sites come in the order of the blocks; words keep theirs, after them."""
    return int(name) if name.isdecimal() else sys.maxsize


def _colours(runs: Sequence[RunCurves], frame: polars.DataFrame) -> dict[str, Any]:
    names = frame["series"].unique(maintain_order=True).to_list()
    if len(runs) == 1:
        legend = altair.Legend(title=None, **_SYMBOL) if len(names) > 1 else None
        scale = altair.Scale(domain=names, range=list(CATEGORIES))
        return {"color": altair.Color("series:N", scale=scale, sort=names, legend=legend)}
    order = [run.run for run in runs]
    few = len(order) <= len(list(CATEGORIES))
    scale = altair.Scale(domain=order, range=list(CATEGORIES)) if few else altair.Scale(domain=order, scheme="viridis")
    legend = altair.Legend(title="run", **_SYMBOL)
    encoding: dict[str, Any] = {"color": altair.Color("run:N", scale=scale, sort=order, legend=legend)}
    if len(names) > 1:
        dashes = altair.Scale(domain=names, range=DASHES)
        legend = altair.Legend(title=None, symbolStrokeColor="#444444", **_SYMBOL)
        encoding["strokeDash"] = altair.StrokeDash("series:N", scale=dashes, sort=names, legend=legend)
    return encoding


def _rules(runs: Sequence[RunCurves], x: altair.X, named: bool) -> Any:
    """Draw a rule where something happened; words stand at the top of the first panel, what falls on one step together."""
    texts: dict[int, list[str]] = {}
    for run in runs:
        for mark in run.marks:
            texts.setdefault(mark.step, []).append(mark.text)
    rows = [{"step": step, "text": ", ".join(dict.fromkeys(found))} for step, found in sorted(texts.items())]
    base = altair.Chart(polars.DataFrame(rows)).encode(x=x)
    rules = base.mark_rule(strokeDash=[2, 3], color="#888888")
    if not named:
        return rules
    words = base.mark_text(
        angle=270, align="right", baseline="top", dx=-2, dy=3, fontSize=10, limit=150, color="#444444"
    )
    return rules + words.encode(text="text:N", y=altair.value(0))
