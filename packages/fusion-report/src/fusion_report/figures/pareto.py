"""Figure 2: score against trainable parameters, with the front of those systems that none beats in both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import altair
import polars

from fusion_report.figures.style import COLUMN, RULE, SHAPES, Figure, colour_of, finished, nothing, system_colour, ticks
from fusion_report.groups import Group, used_by
from fusion_report.measuring import value_cells
from fusion_report.metric_names import label_of
from fusion_report.study import MAIN, Study, cards_of

KEY, TITLE = "pareto", "Score against trainable parameters"
_NEAR = 1.1  # sizes within this ratio are set apart
_STEP, _WIDEST = 9, 50  # by so many pixels; a whole group by no more than that
_MARGIN = 12  # pixels between the outermost point and the end of the axis
_KINDS = {"XE": "XE", "+ SCST": "+ SCST", "ablation": "fewer tokens or narrower"}
_TICKS = [mantissa * 10**power for power in range(4, 11) for mantissa in (1, 2, 5)]


@dataclass(frozen=True)
class Point:
    """One group of runs: its size and its score.

    Attributes:
        label: what tables call it.
        system: whose colour it has.
        kind: XE, + SCST or ablation.
        parameters: trainable ones.
        score: the mean over seeds.
        low, high: the 95% interval over clips; the score itself where there is none.
        front: whether no other point has fewer or as many parameters and a higher score.
        sources: the files.
    """

    label: str
    system: str
    kind: str
    parameters: float
    score: float
    low: float
    high: float
    front: bool
    sources: tuple[str, ...]


def pareto_points(study: Study) -> list[Point]:
    """Return the main systems and the sizes of the additive one, smallest first."""
    dataset = study.dataset
    groups = [group for group in used_by(study.groups, MAIN, "B2") if group.dataset == dataset]
    found = []
    for group in dict.fromkeys(groups):
        cards = cards_of(group)
        cell = value_cells(study.measuring, group, [study.score])[study.score]
        if cards and cell.value is not None:
            found.append(
                (group, fmean(card.parameters.total for _, card in cards), cell, [place for place, _ in cards])
            )
    points = []
    for group, size, cell, places in found:
        if cell.value is None:
            continue
        beaten = any(other <= size and (rival.value or 0.0) > cell.value for _, other, rival, _ in found)
        points.append(
            Point(
                label=group.label,
                system=group.system,
                kind=_kind(group),
                parameters=size,
                score=cell.value,
                low=cell.value if cell.low is None else cell.low,
                high=cell.value if cell.high is None else cell.high,
                front=not beaten,
                sources=(*places, *cell.sources),
            )
        )
    return sorted(points, key=lambda point: (point.parameters, -point.score))


def _kind(group: Group) -> str:
    if group.stage == "scst":
        return "+ SCST"
    return "ablation" if group.variant else "XE"


def pareto(study: Study) -> Figure:
    """Return the figure: a point a system with its interval, and the front as steps."""
    points = pareto_points(study)
    if not points:
        return nothing(KEY, TITLE, "No run of the main systems has both a run card and scores.")
    score = label_of(study.score)
    x = _size_axis(points)
    y = altair.Y(
        "score:Q",
        title=f"{score}, {study.dataset} test",
        scale=ticks([value for point in points for value in (point.low, point.high)]),
    )
    colour = system_colour([point.system for point in points])
    marks = [_front(points, x, y), *_marks(points, x, y, colour), *_legend(points, x, y)]
    chart = altair.layer(*marks).properties(width=COLUMN - 60, height=215)
    kinds = {point.kind for point in points}
    return Figure(
        key=KEY,
        title=TITLE,
        caption=(
            f"{score} on {study.dataset} against trainable parameters; bars are 95% intervals of the bootstrap"
            " over clips of the mean"
            f" over seeds. Circles: cross-entropy{'; diamonds: self-critical training' if '+ SCST' in kinds else ''}"
            f"{'; triangles: fewer tokens or a narrower projector' if 'ablation' in kinds else ''}.",
            f"The line is the Pareto front. Points whose sizes are within {_NEAR - 1:.0%} are set apart sideways.",
        ),
        chart=finished(chart),
        colours=tuple(dict.fromkeys(colour_of(point.system) for point in points)),
        sources=tuple(dict.fromkeys(source for point in points for source in point.sources)),
    )


def _size_axis(points: Sequence[Point]) -> Any:
    """Return the axis, wide enough for points that are moved sideways."""
    sizes = [point.parameters for point in points]
    low, high = min(sizes), max(sizes)
    shown = [tick for tick in _TICKS if low / 1.25 <= tick <= high * 1.35]
    room = max(abs(offset) for offset in _offsets(points)) + _MARGIN
    return altair.X(
        "parameters:Q",
        title="trainable parameters",
        scale=altair.Scale(type="log", domain=[low, high * 1.01], nice=False, padding=room),
        axis=altair.Axis(values=shown or sizes[:1], format="~s", grid=False),
    )


def _front(points: Sequence[Point], x: Any, y: Any) -> Any:
    front = [point for point in points if point.front]
    rows = [{"parameters": point.parameters, "score": point.score} for point in front]
    rows.append({"parameters": max(point.parameters for point in points), "score": front[-1].score})
    return (
        altair.Chart(polars.DataFrame(rows))
        .mark_line(interpolate="step-after", color=RULE, strokeWidth=1)
        .encode(x=x, y=y)
    )


def _marks(points: Sequence[Point], x: Any, y: Any, colour: Any) -> list[Any]:
    """Return a layer a point, moved sideways where sizes are nearly equal."""
    layers = []
    for point, offset in zip(points, _offsets(points), strict=True):
        row = {"parameters": point.parameters, "score": point.score, "low": point.low, "high": point.high}
        frame = polars.DataFrame([row | {"system": point.system}])
        base = altair.Chart(frame).encode(x=x, color=colour)
        layers.append(
            base.mark_rule(xOffset=offset, strokeWidth=1.3).encode(y=altair.Y("low:Q", scale=y["scale"]), y2="high:Q")
        )
        look = {"fill": "white", "filled": False} if point.kind == "+ SCST" else {"filled": True}
        mark = base.mark_point(xOffset=offset, size=52, shape=SHAPES[point.kind], opacity=1, strokeWidth=1.6, **look)
        layers.append(mark.encode(y=y))
    return layers


def _legend(points: Sequence[Point], x: Any, y: Any) -> list[Any]:
    """Return a layer that shows nothing but what the shapes mean; none where there is one shape."""
    kinds = [kind for kind in SHAPES if any(point.kind == kind for point in points)]
    if len(kinds) < 2:
        return []
    first = {"parameters": points[0].parameters, "score": points[0].score}
    frame = polars.DataFrame([first | {"kind": _KINDS[kind]} for kind in kinds])
    shape = altair.Shape(
        "kind:N",
        scale=altair.Scale(domain=[_KINDS[kind] for kind in kinds], range=[SHAPES[kind] for kind in kinds]),
        legend=altair.Legend(title=None, orient="bottom", symbolOpacity=1, columns=2),
    )
    return [altair.Chart(frame).mark_point(opacity=0, filled=True, color="#444444").encode(x=x, y=y, shape=shape)]


def _offsets(points: Sequence[Point]) -> list[float]:
    """Return how far each point is moved, so that those of nearly the same size stand side by side."""
    offsets = [0.0] * len(points)
    start = 0
    for place in range(1, len(points) + 1):
        last = place == len(points)
        if last or math.log(points[place].parameters / points[start].parameters) > math.log(_NEAR):
            count = place - start
            for within in range(count):
                offsets[start + within] = (within - (count - 1) / 2) * min(_STEP, _WIDEST / count)
            start = place
    return offsets
