"""The controls of one run: each condition's scores with intervals, over all test clips and by kind of combination.

Read from a run directory alone: ``scores/<condition>.json`` and ``subsets.json``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair
import numpy as np
import polars
from fusion_eval.errors import DataError
from fusion_eval.schemas import Scores

from fusion_report.figures.style import finished, write
from fusion_report.measuring import interval_of_mean
from fusion_report.palette import BLUE, GREY, ORANGE

CONDITIONS = {
    "audio": "right audio",
    "shuffled": "shuffled audio",
    "none": "no audio",
    "class_prior": "class prior",
    "nearest_neighbour": "nearest neighbour",
}
METRICS = {
    "cider_d": "CIDEr-D",
    "event_f1": "event-F1",
}
SUBSETS = {"seen": "seen", "held_out": "held-out"}
SUBSET_COLOURS = (BLUE, ORANGE, GREY)


@dataclass(frozen=True)
class ControlRow:
    """One cell of the table: a mean over clips with its 95% bootstrap interval."""

    condition: str
    condition_label: str
    metric: str
    metric_label: str
    subset: str
    value: float
    low: float
    high: float
    n: int


def control_rows(folder: Path) -> list[ControlRow]:
    """Return the table of a finished run, row by condition, metric and subset.

    Raises:
        DataError: the run has no scores.
    """
    subsets_path = folder / "subsets.json"
    subsets = json.loads(subsets_path.read_text(encoding="utf-8")) if subsets_path.is_file() else {}
    rows = []
    for condition, label in CONDITIONS.items():
        path = folder / "scores" / f"{condition}.json"
        if path.is_file():
            rows += _rows_of(Scores.read(path), condition, label, subsets)
    if not rows:
        raise DataError(f"{folder}: no scores here; give the folder of a finished run of fusion train.")
    return rows


def _rows_of(scores: Scores, condition: str, label: str, subsets: dict[str, list[str]]) -> list[ControlRow]:
    rows = []
    values = {clip.id: clip.values for clip in scores.per_clip}
    groups = {"all": list(values)} | {SUBSETS.get(name, name): ids for name, ids in subsets.items()}
    for metric, metric_label in METRICS.items():
        for subset, ids in groups.items():
            found = np.array([values[clip][metric] for clip in ids if metric in values[clip]])
            if len(found):
                low, high = interval_of_mean(found)
                mean = float(found.mean())
                rows.append(ControlRow(condition, label, metric, metric_label, subset, mean, low, high, len(found)))
    return rows


def draw_controls(rows: list[ControlRow], stem: Path) -> Path:
    """Draw the table as bars with intervals; write ``<stem>.png`` and ``<stem>.svg`` and return the PNG's path."""
    frame = polars.DataFrame([vars(row) for row in rows])
    order = list(CONDITIONS.values())
    subsets = [subset for subset in ("all", "seen", "held-out") if subset in frame["subset"].to_list()]
    panels = []
    for label in frame["metric_label"].unique(maintain_order=True).to_list():
        part = frame.filter(polars.col("metric_label") == label)
        panels.append(_panel(part, label, order, subsets))
    write(finished(altair.hconcat(*panels, spacing=24)), stem.with_suffix(""), ("png", "svg"))
    return stem.with_suffix(".png")


def _panel(frame: polars.DataFrame, title: str, order: list[str], subsets: list[str]) -> Any:
    base = altair.Chart(frame, title=title, width=300, height=220).encode(
        y=altair.Y("condition_label:N", sort=order, title=None, axis=altair.Axis(labelLimit=160)),
        yOffset=altair.YOffset("subset:N", sort=subsets),
    )
    bars = base.mark_bar().encode(
        x=altair.X("value:Q", title=f"{title}, 95% interval over clips"),
        color=altair.Color(
            "subset:N", sort=subsets, title="combinations", scale=altair.Scale(range=list(SUBSET_COLOURS))
        ),
    )
    whiskers = base.mark_rule(strokeWidth=1.2, color="#333333").encode(x="low:Q", x2="high:Q")
    return altair.layer(bars, whiskers)
