"""How every figure looks: sizes that fit a column in print, letters that stay readable there, colours, and how it is written.

Sizes are in CSS pixels, 96 an inch: a column of 3.3 inches is 317 pixels, and a letter of 10 pixels is 7.5 points there.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import altair
import vl_convert
from fusion_eval.files import write_atomic

from fusion_report.palette import BLACK, CATEGORIES, SYSTEM_COLOURS

COLUMN, PAGE = 317, 672
"""Widths of one and of two columns, in pixels."""

LABEL, TITLE = 10, 11
FORMATS = ("svg", "png", "pdf")
_SCALE = 3  # of the PNG: 288 dots an inch
_DATE = re.compile(rb"/(CreationDate|ModDate) ?\([^)]*\)")
_ENTRIES = re.compile(rb"(?:^ +/[a-z]+[0-9]+ [0-9]+ 0 R\n){2,}", re.MULTILINE)  # what a page's resources refer to
RULE = "#6b6b6b"
SHAPES = {"XE": "circle", "+ SCST": "diamond", "ablation": "triangle-up"}
VARIANT_SHAPES = ("triangle-up", "square", "cross", "triangle-down")
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [4, 1], [1, 3], [10, 2])


@dataclass(frozen=True)
class Figure:
    """A figure, or the reason why it cannot be drawn.

    Attributes:
        key: names its files.
        title: what it shows.
        caption: sentences that a paper prints below it.
        chart: the chart; None where there is nothing to draw.
        reason: why there is nothing to draw.
        colours: those that must be told apart.
        sources: the files of the results folder that it is drawn from.
    """

    key: str
    title: str
    caption: tuple[str, ...]
    chart: Any | None = None
    reason: str | None = None
    colours: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


def nothing(key: str, title: str, reason: str) -> Figure:
    """Return a figure that cannot be drawn."""
    return Figure(key=key, title=title, caption=(), reason=reason)


def colour_of(system: str) -> str:
    """Return a system's colour, the same in every figure; systems of other packages share the last one."""
    return SYSTEM_COLOURS.get(system, BLACK)


def system_colour(systems: Sequence[str], field: str = "system", **legend: Any) -> Any:
    """Return the colour of systems, with a legend below the figure."""
    order = list(dict.fromkeys(systems))
    return altair.Color(
        f"{field}:N",
        sort=order,
        scale=altair.Scale(domain=order, range=[colour_of(system) for system in order]),
        legend=altair.Legend(title=None, orient="bottom", columns=3, symbolOpacity=1, **legend),
    )


def category_colour(names: Sequence[str], field: str, **legend: Any) -> Any:
    """Return a colour a category; after the last colour they begin again, so that a second sign must tell them apart."""
    order = list(dict.fromkeys(names))
    colours = [CATEGORIES[place % len(CATEGORIES)] for place in range(len(order))]
    return altair.Color(
        f"{field}:N",
        sort=order,
        scale=altair.Scale(domain=order, range=colours),
        legend=altair.Legend(title=None, orient="bottom", symbolOpacity=1, **legend),
    )


def ticks(values: Sequence[float], zero: bool = False, room: float = 0.06) -> Any:
    """Return a scale that holds the values with some room at the ends."""
    low, high = min(values), max(values)
    margin = (high - low) * room or abs(high) * room or 1.0
    return altair.Scale(domain=[min(0.0, low) if zero else low - margin, high + margin], nice=False, zero=zero)


def finished(chart: Any) -> Any:
    """Return a chart in the common style."""
    return (
        chart.configure_view(stroke=None)
        .configure_axis(
            grid=True,
            gridColor="#ececec",
            domainColor=RULE,
            tickColor=RULE,
            labelFontSize=LABEL,
            titleFontSize=LABEL,
            titleFontWeight="normal",
            titlePadding=6,
            labelLimit=220,
            tickCount=5,
            labelFlush=False,
        )
        .configure_axisQuantitative(labelOverlap="greedy", labelSeparation=6)  # of categories every label is shown
        .configure_legend(
            labelFontSize=LABEL,
            titleFontSize=LABEL,
            titleFontWeight="normal",
            labelLimit=240,
            symbolSize=60,
            padding=2,
        )
        .configure_title(fontSize=TITLE, anchor="start", fontWeight="bold", subtitleFontSize=LABEL, offset=6)
        .configure_header(labelFontSize=LABEL, titleFontSize=LABEL)
    )


def specification(chart: Any) -> str:
    """Return the chart as Vega-Lite, the same text for the same content."""
    content = chart.to_dict()
    legend = content.setdefault("config", {}).setdefault("legend", {})
    legend["layout"] = {
        "bottom": {"anchor": "start", "direction": "vertical"}
    }  # Vega knows it, altair's schema does not
    return json.dumps(content, sort_keys=True, ensure_ascii=False)


def digest(specified: str) -> str:
    """Return the SHA-256 of what decides a chart's pictures: its specification and the converter."""
    return hashlib.sha256(f"{version('vl-convert-python')}\n{specified}".encode()).hexdigest()


def render(specified: str, format_name: str) -> bytes:
    """Return a chart, by its specification, as SVG, PNG or PDF, the same bytes whenever it is drawn."""
    if format_name == "svg":
        return vl_convert.vegalite_to_svg(specified).encode()
    if format_name == "png":
        return bytes(vl_convert.vegalite_to_png(specified, scale=_SCALE))
    return _settled(bytes(vl_convert.vegalite_to_pdf(specified)))


def _settled(pdf: bytes) -> bytes:
    """Return a PDF without dates and with its resources in order; its length stays, as it says where each object begins."""
    undated = _DATE.sub(lambda found: b" " * len(found[0]), pdf)
    return _ENTRIES.sub(lambda found: b"".join(sorted(found[0].splitlines(keepends=True))), undated)


def write(chart: Any, stem: Path, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Write the chart in several formats beside each other."""
    paths, specified = [], specification(chart)
    for name in formats:
        path = stem.with_name(f"{stem.name}.{name}")
        write_atomic(path, render(specified, name))
        paths.append(path)
    return paths
