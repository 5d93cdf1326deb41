"""The charts of the page as Vega-Lite specifications, made with altair; the page gives them their rows and their colours.

Rows are named, not inlined, so that several charts share them, and the page's own fields choose
metric, run and dataset by parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import altair
import vl_convert

from fusion_report.page.outputs import CONDITION_LABELS

Spec = dict[str, Any]
BUNDLE_SNIPPET = "window.vegaEmbed = vegaEmbed;"
HEIGHT = 300
LEAST_HEIGHT, BAR_HEIGHT = 140, 9
FAR_APART = 8  # so many times more parameters than the fewest: the axis is logarithmic


@dataclass(frozen=True)
class PageChart:
    """One chart.

    Attributes:
        name: of its place in the page.
        title: its heading.
        text: what it shows, for the reader and for who cannot see it.
        data: the name of its rows.
        spec: Vega-Lite without rows, size and colours.
        parameters: by parameter: the column of the rows whose values the reader chooses from.
    """

    name: str
    title: str
    text: str
    data: str
    spec: Spec
    parameters: dict[str, str]


@cache
def javascript_libraries() -> str:
    """Return Vega, Vega-Lite and Vega-Embed in one script that sets ``vegaEmbed``, of the version that altair writes for."""
    version = ".".join(altair.SCHEMA_VERSION.split(".")[:2])
    bundled: str = vl_convert.javascript_bundle(BUNDLE_SNIPPET, vl_version=version)
    return bundled


def page_charts(systems: Sequence[str], scores: Sequence[Mapping[str, Any]] = ()) -> list[PageChart]:
    """Return every chart of the page; those without rows are not shown.

    Args:
        systems: in the order of their colours.
        scores: the rows of scores, whose number and range decide on heights and axes.
    """
    colour = altair.Color("system:N", sort=list(systems), scale=altair.Scale(domain=list(systems)), title=None)
    return [
        _scores(colour, scores),
        _controls(colour, scores),
        _curves(colour),
        _gates(colour),
        _stability(colour),
        _clips(),
    ]


def _chart(name: str, *chosen: str) -> altair.Chart:
    """Return a chart of named rows, of which the reader chooses those with one value in each ``chosen`` column."""
    chart = altair.Chart(altair.NamedData(name), width="container", height=HEIGHT)
    for column in chosen:
        chart = chart.add_params(altair.param(name=f"chosen_{column}", value=""))
        chart = chart.transform_filter(f"datum['{column}'] === chosen_{column}")
    return chart


def _spec(chart: Any) -> Spec:
    spec: Spec = chart.to_dict()
    spec.pop("$schema")  # an address that is never loaded; the version is fixed by the libraries beside it
    spec.pop("config", None)
    return spec


def _scores(colour: Any, scores: Sequence[Mapping[str, Any]]) -> PageChart:
    sizes = [row["parameters"] for row in scores if row["parameters"]]
    far_apart = bool(sizes) and max(sizes) > FAR_APART * min(sizes)
    base = _chart("scores", "dataset", "metric").transform_filter("datum.heard && datum.parameters !== null")
    scale = altair.Scale(type="log") if far_apart else altair.Scale(zero=False, padding=40)
    x = altair.X(
        "parameters:Q", title="trainable parameters", scale=scale, axis=altair.Axis(format=".3~s", tickCount=4)
    )
    interval = base.mark_rule(strokeWidth=1.5, opacity=0.6).encode(x=x, y="low:Q", y2="high:Q", color=colour)
    y = altair.Y("value:Q", title="score", scale=altair.Scale(zero=False))
    points = base.mark_point(filled=True, size=110, opacity=1).encode(
        x=x,
        y=y,
        color=colour,
        shape=altair.Shape("stage:N", legend=altair.Legend(orient="top", title=None, symbolFillColor="gray")),
        tooltip=["label:N", "value:Q", "low:Q", "high:Q", "deviation:Q", "seeds:Q", "parameters:Q"],
    )
    return PageChart(
        "scores",
        "Score against trainable parameters",
        "Each point is a system, the mean over its seeds, with the 95 % interval over clips.",
        "scores",
        _spec(altair.layer(interval, points)),
        {"dataset": "dataset", "metric": "metric"},
    )


def _controls(colour: Any, scores: Sequence[Mapping[str, Any]]) -> PageChart:
    bars_drawn = len({row["condition"] for row in scores}) * len({row["group"] for row in scores})
    base = _chart("scores", "dataset", "metric")
    y = altair.Y("condition:N", title=None, sort=list(CONDITION_LABELS.values()))
    offset = altair.YOffset("group:N", sort=None)
    bars = base.mark_bar(opacity=0.85).encode(
        x=altair.X("value:Q", title="score"),
        y=y,
        yOffset=offset,
        color=colour,
        tooltip=["label:N", "condition:N", "value:Q", "low:Q", "high:Q"],
    )
    interval = base.mark_rule(strokeWidth=1.2).encode(x="low:Q", x2="high:Q", y=y, yOffset=offset)
    chart = altair.layer(bars, interval).properties(height=max(LEAST_HEIGHT, BAR_HEIGHT * bars_drawn))
    return PageChart(
        "controls",
        "What remains without the right audio",
        "Scores when a system hears the clip, another clip or nothing, beside floors that do not hear.",
        "scores",
        _spec(chart),
        {"dataset": "dataset", "metric": "metric"},
    )


def _curves(colour: Any) -> PageChart:
    hover = altair.selection_point(fields=["run"], on="pointerover", empty=False, clear="pointerout")
    line = (
        _chart("curves", "dataset", "curve")
        .mark_line(strokeWidth=1.6)
        .encode(
            x=altair.X("step:Q", title="step"),
            y=altair.Y("value:Q", title=None, scale=altair.Scale(zero=False)),
            color=colour,
            detail="run:N",
            opacity=altair.condition(hover, altair.value(1), altair.value(0.75)),
            strokeWidth=altair.condition(hover, altair.value(3.5), altair.value(1.6)),
            tooltip=["run:N", "step:Q", "value:Q"],
        )
        .add_params(hover)
    )
    return PageChart(
        "curves",
        "How training went",
        "One line a run, from its log; long logs are averaged in stretches.",
        "curves",
        _spec(line),
        {"dataset": "dataset", "curve": "curve"},
    )


def _gates(colour: Any) -> PageChart:
    base = _chart("gates").encode(
        x=altair.X(
            "site:O", title="decoder block", axis=altair.Axis(labelAngle=0, labelOverlap="greedy", labelSeparation=6)
        ),
        color=colour,
        detail="run:N",
        tooltip=["run:N", "site:O", "gate:Q"],
    )
    y = altair.Y("gate:Q", title="size of the gate")
    points = base.mark_point(filled=True, size=60, opacity=0.9).encode(y=y)
    rule = base.mark_line(strokeWidth=1, opacity=0.5).encode(y=y)
    return PageChart(
        "gates",
        "Gates by decoder block",
        "How strongly each site adds after training, relative to the frozen stream; one mark a run and site.",
        "gates",
        _spec(altair.layer(rule, points)),
        {},
    )


def _stability(colour: Any) -> PageChart:
    points = (
        _chart("stability", "condition")
        .mark_line(point=True, strokeWidth=1.2)
        .encode(
            x=altair.X("score:Q", title="score on val", scale=altair.Scale(zero=False)),
            y=altair.Y("accuracy:Q", title="questions answered", axis=altair.Axis(format="%"), scale={"zero": False}),
            order="step:Q",
            color=colour,
            detail="run:N",
            tooltip=["run:N", "step:Q", "score:Q", "accuracy:Q"],
        )
    )
    return PageChart(
        "stability",
        "Hearing against remembering",
        "Each line is a run while it trains: what it hears against what it still answers.",
        "stability",
        _spec(points),
        {"condition": "condition"},
    )


def _clips() -> PageChart:
    """Rows come from the page: the scores of the two outputs that the reader compares."""
    base = _chart("clips")
    equal = base.transform_calculate(first="datum.first", second="datum.first").mark_line(
        strokeDash=[4, 4], opacity=0.5
    )
    diagonal = equal.encode(x="first:Q", y="second:Q")
    points = base.mark_circle(size=70, opacity=0.65, cursor="pointer").encode(
        x=altair.X("first:Q", title="first"),
        y=altair.Y("second:Q", title="second"),
        tooltip=["id:N", "first:Q", "second:Q", "first_caption:N", "second_caption:N"],
    )
    return PageChart(
        "clips",
        "Clip by clip: one system against another",
        "Each dot is a clip; above the line the second is better. A click opens the clip.",
        "clips",
        _spec(altair.layer(diagonal, points)),
        {},
    )
