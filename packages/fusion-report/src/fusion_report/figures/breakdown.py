"""Where systems are good and where not: by sound class, by length of the references, and by kind of combination."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any

import altair
import numpy as np
import polars
from fusion_eval.errors import DataError
from fusion_eval.schemas import Scores

from fusion_report.figures.style import COLUMN, LABEL, Figure, colour_of, finished, nothing, system_colour, ticks
from fusion_report.groups import Group
from fusion_report.measuring import interval_of_mean, scores_of
from fusion_report.metric_names import label_of
from fusion_report.study import Study

FEWEST = 3  # clips of a part that is drawn
_CLASS_METRIC = "event_f1"
_ROW = 16
_SYSTEMS = 3
_BANDS = 4
_SHAPES = ("circle", "square", "triangle-up")

Parts = dict[str, list[str]]


def class_breakdown(study: Study) -> Figure:
    """Return the score of the clips in which a class sounds, a row a class."""
    return _breakdown(study, "classes", "By sound class", "Clips in which the class sounds", _classes, _CLASS_METRIC)


def length_breakdown(study: Study) -> Figure:
    """Return the score by the mean length of a clip's references, a row a quarter of the clips."""
    return _breakdown(
        study, "lengths", "By length of the references", "Words of a clip's references, mean", _lengths, None
    )


def subset_breakdown(study: Study) -> Figure:
    """Return the score by kind of combination, such as held out."""
    return _breakdown(study, "subsets", "By combination", "Combinations of sounds", _subsets, None)


def _classes(study: Study, group: Group, scores: Scores) -> Parts:
    events = study.results.events(scores.events_sha256)
    names = sorted({event.sound_class for item in events.items for event in item.events})
    return {
        name: [item.id for item in events.items if any(event.sound_class == name for event in item.events)]
        for name in names
    }


def _lengths(study: Study, group: Group, scores: Scores) -> Parts:
    references = study.results.references(scores.references_sha256)
    words = {item.id: fmean(len(text.split()) for text in item.references) for item in references.items}
    edges = [float(edge) for edge in np.quantile(list(words.values()), np.linspace(0, 1, _BANDS + 1))]
    parts: Parts = {}
    for low, high in dict.fromkeys(pairwise(edges)):
        inside = [clip for clip, count in words.items() if low <= count < high or (count == high == edges[-1])]
        parts[f"{low:.1f}–{high:.1f}" if low < high else f"{low:.1f}"] = inside
    return parts


def _subsets(study: Study, group: Group, scores: Scores) -> Parts:
    for run in group.runs:
        found = run.json("subsets.json")
        if found:
            return {name.replace("_", "-"): list(clips) for name, clips in found.items() if isinstance(clips, list)}
    raise DataError("No run says which clips are of which kind (subsets.json).")


def _breakdown(study: Study, key: str, title: str, axis: str, split: Any, metric: str | None) -> Figure:
    key = f"breakdown-{key}"
    groups = _chosen(study)
    files = study.files(groups)
    if not files:
        return nothing(key, title, "No run of the main systems has scores.")
    metric = metric if metric and all(metric in one.metrics for one in files) else study.score
    try:
        parts = split(study, groups[0], files[0])
    except DataError as error:
        return nothing(key, title, str(error))
    rows = _rows(groups, parts, metric)
    if not rows:
        return nothing(key, title, f"No part has {FEWEST} clips or more.")
    chart = _chart(rows, axis, f"{label_of(metric)}, 95% interval over clips")
    return Figure(
        key=key,
        title=title,
        caption=(
            f"{label_of(metric)} on {study.dataset} test, {title[0].lower()}{title[1:]}: mean over seeds and"
            " clips with the 95% interval of"
            f" the bootstrap over the clips of the part (their number in brackets; parts of fewer than {FEWEST} are left out).",
        ),
        chart=finished(chart),
        colours=tuple(dict.fromkeys(colour_of(row["system"]) for row in rows)),
        sources=tuple(run.place("scores/audio.json") for group in groups for run, _ in scores_of(group)),
    )


def _chosen(study: Study) -> list[Group]:
    """Return the additive system, the best other one, and the blind floor, as far as they are there."""
    from fusion_report.tables.comparisons import best_baseline

    main = [
        group for group in study.main(study.dataset) if group.stage == "xe" and not group.variant and scores_of(group)
    ]
    best = best_baseline(study)
    wanted = [study.reference(), best, next((group for group in main if group.system == "data-only"), None)]
    return [group for group in dict.fromkeys(wanted) if group is not None and group in main][:_SYSTEMS] or main[
        :_SYSTEMS
    ]


def _rows(groups: Sequence[Group], parts: Mapping[str, Sequence[str]], metric: str) -> list[dict[str, Any]]:
    rows = []
    for group in groups:
        clips = _means_by_clip([scores for _, scores in scores_of(group)], metric)
        for part, ids in parts.items():
            values = np.array([clips[clip] for clip in ids if clip in clips])
            if len(values) >= FEWEST:
                low, high = interval_of_mean(values)
                rows.append(
                    {
                        "part": f"{part} ({len(values)})",
                        "system": group.system,
                        "value": float(values.mean()),
                        "low": low,
                        "high": high,
                    }
                )
    return rows


def _means_by_clip(files: Sequence[Scores], metric: str) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for scores in files:
        for clip in scores.per_clip:
            if metric in clip.values:
                found.setdefault(clip.id, []).append(clip.values[metric])
    return {clip: fmean(values) for clip, values in found.items()}


def _chart(rows: Sequence[dict[str, Any]], title: str, axis: str) -> Any:
    order = list(dict.fromkeys(row["part"] for row in rows))
    systems = list(dict.fromkeys(row["system"] for row in rows))
    y = altair.Y("part:N", sort=order, title=None, axis=altair.Axis(grid=False, labelLimit=130))
    x = altair.X("value:Q", title=axis, scale=ticks([row[name] for row in rows for name in ("low", "high")]))
    offset = altair.YOffset("system:N", sort=systems)
    shape = altair.Shape(
        "system:N", sort=systems, scale=altair.Scale(domain=systems, range=list(_SHAPES[: len(systems)])), legend=None
    )
    base = altair.Chart(polars.DataFrame(rows)).encode(y=y, yOffset=offset, color=system_colour(systems))
    return altair.layer(
        base.mark_rule(strokeWidth=1.4).encode(x=altair.X("low:Q", scale=x["scale"]), x2="high:Q"),
        base.mark_point(filled=True, size=32, opacity=1).encode(x=x, shape=shape),
    ).properties(
        title=altair.TitleParams(title, fontSize=LABEL, fontWeight="normal"),
        width=COLUMN - 110,
        height={"step": max(_ROW, _ROW * len(systems) / 2 + 6), "for": "position"},
    )
