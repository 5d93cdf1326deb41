"""The figure of a comparison: how the bootstrap differences of each metric lie about zero.

Drawn from a comparison file alone, one panel a metric: the histogram of the differences, the part within the 95%
interval darker, the interval and the difference found as a bar with a dot, and zero as a dashed line.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import altair
import polars
from fusion_eval.errors import ConfigError, DataError
from fusion_eval.schemas.comparison import Comparison, Histogram, Interval, MetricComparison

from fusion_report.metric_names import label_of

FORMATS = (".svg", ".png", ".pdf", ".html")
INSIDE, OUTSIDE, FOUND, ZERO = "#0072B2", "#9ecae1", "#000000", "#D55E00"  # Okabe and Ito, and a light blue
WIDTH, HEIGHT = 190, 110
PANELS_IN_A_ROW = 2


def check_format(path: Path) -> None:
    """Refuse a file that the figure cannot be written as.

    Raises:
        ConfigError: its name has another ending.
    """
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"{path}: a figure ends in {', '.join(FORMATS)}; give one of these.")


def draw_bootstrap(comparison: Comparison, path: Path) -> None:
    """Draw the bootstrap differences of every metric that has some.

    Raises:
        ConfigError: the file's name does not end as a figure's.
        DataError: no metric has been resampled.
    """
    check_format(path)
    chart = bootstrap_chart(comparison)
    path.parent.mkdir(parents=True, exist_ok=True)
    chart.save(str(path), **({"scale_factor": 2} if path.suffix.lower() == ".png" else {}))


def bootstrap_chart(comparison: Comparison) -> Any:
    """Return the chart of the bootstrap differences of every metric that has some.

    Raises:
        DataError: no metric has been resampled.
    """
    drawn = {name: one for name, one in comparison.metrics.items() if one.difference.histogram is not None}
    if not drawn:
        raise DataError("No metric of the comparison has been resampled, so there is nothing to draw; name another.")
    panels = [_panel(_label(comparison, name), one) for name, one in drawn.items()]
    first, second = _names(comparison)
    title = altair.TitleParams(
        f"{first} less {second}",
        subtitle=[
            f"{comparison.dataset} {comparison.split}: {comparison.n} clips, {comparison.resamples} resamples.",
            "Dark with bar: 95% interval; dashed: no difference.",
        ],
        anchor="start",
        offset=12,
    )
    return (
        altair.concat(*panels, columns=PANELS_IN_A_ROW, title=title, spacing=12)
        .configure_view(stroke=None)
        .configure_axis(grid=False, labelFontSize=11, titleFontSize=11, labelFlush=False)
        .configure_title(fontSize=13, subtitleFontSize=11)
    )


def _panel(title: str, one: MetricComparison) -> Any:
    """Return the panel of one metric; the bar of the interval lies below the histogram."""
    difference = one.difference
    spread, drawn = difference.spread, difference.histogram
    if spread is None or drawn is None:
        raise DataError(f"{title}: the comparison has no interval; compare again.")
    interval = spread.bca or spread.percentile
    bins = _bins(drawn, interval)
    highest = max(drawn.counts)
    y = altair.Y("count:Q", axis=None, scale=altair.Scale(domain=[-0.16 * highest, highest]))
    ends = [*bins["low"], *bins["high"], interval.low, interval.high, 0.0]
    scale = altair.Scale(domain=[min(ends), max(ends)], nice=True, zero=False)
    axis = altair.Axis(title=None, tickCount=3, labelOverlap="parity")
    x = altair.X("low:Q", scale=scale, axis=axis)
    bars = (
        altair.Chart(bins)
        .mark_bar(binSpacing=0, stroke=None)
        .encode(
            x=x,
            x2="high:Q",
            y=y,
            y2=altair.datum(0),
            color=altair.Color("colour:N", scale=None),
            tooltip=["low:Q", "high:Q", "count:Q"],
        )
    )
    span = polars.DataFrame({"low": [interval.low], "high": [interval.high], "count": [-0.08 * highest]})
    bar = altair.Chart(span).mark_rule(color=FOUND, strokeWidth=2).encode(x=x, x2="high:Q", y=y)
    point = polars.DataFrame({"low": [difference.value], "count": [-0.08 * highest]})
    dot = altair.Chart(point).mark_point(color=FOUND, fill=FOUND, size=45, opacity=1).encode(x=x, y=y)
    zero = polars.DataFrame({"low": [0.0]})
    line = altair.Chart(zero).mark_rule(color=ZERO, strokeDash=[5, 3], strokeWidth=1.8).encode(x=x)
    heading = altair.TitleParams(
        title, subtitle=_say(one, interval), anchor="start", fontSize=12, subtitleFontSize=10.5
    )
    return altair.layer(bars, line, bar, dot, title=heading, width=WIDTH, height=HEIGHT)


def _bins(drawn: Histogram, interval: Interval) -> polars.DataFrame:
    """Return the bars; where all differences are equal, one bar of a width that can be seen."""
    parts = len(drawn.counts)
    width = (drawn.high - drawn.low) / parts
    start = drawn.low
    if not width:
        width = abs(drawn.low) / 20 or 0.01
        start -= width / 2
    rows = []
    for place, count in enumerate(drawn.counts):
        middle = start + (place + 0.5) * width
        colour = INSIDE if interval.low <= middle <= interval.high else OUTSIDE
        rows.append({"low": middle - width / 2, "high": middle + width / 2, "count": count, "colour": colour})
    return polars.DataFrame(rows)


def _say(one: MetricComparison, interval: Interval) -> str:
    """Return the difference with its interval and p, to the digits that the interval's width deserves."""
    width = interval.high - interval.low
    digits = min(6, max(0, 2 - math.floor(math.log10(width)))) if width > 0 else 4
    numbers = f"{one.difference.value:+.{digits}f} [{interval.low:+.{digits}f}, {interval.high:+.{digits}f}]"
    return f"{numbers}, p = {one.difference.p:.2g}" if one.difference.p is not None else numbers


def _label(comparison: Comparison, name: str) -> str:
    label = label_of(name)
    return f"{label} (oracle)" if name in comparison.oracle else label


def _names(comparison: Comparison) -> tuple[str, str]:
    """Return what the title calls the two sides: the systems' names, with a and b where they are the same."""
    first, second = (", ".join(dict.fromkeys(file.system for file in side)) for side in (comparison.a, comparison.b))
    return (f"{first} (a)", f"{second} (b)") if first == second else (first, second)
