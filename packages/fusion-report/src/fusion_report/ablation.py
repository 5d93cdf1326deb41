"""What a setting is worth: finished runs grouped by the settings in which they differ, each group's seeds together.

Read from run directories alone (``run_card.json``, ``scores/audio.json``). The interval is a bootstrap over clips of the mean
over seeds; seeds themselves are shown as points and by their standard deviation (n − 1).
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair
import numpy as np
import polars
from fusion_eval.errors import DataError
from fusion_eval.schemas import RunCard, Scores

from fusion_report.controls import METRICS
from fusion_report.figures.style import finished, write
from fusion_report.measuring import interval_of_mean
from fusion_report.palette import BLUE, CATEGORIES

Settings = dict[str, Any]
# What follows from another setting, or says which run it was rather than what it tried.
_FOLLOWS = ("system.backbone_width", "system.backbone_depth", "system.encoder_width", "system.block_shapes")
OBJECTIVES = ("xe", "contrastive", "scst")
"""As a run card names them; the settings of one that a run does not use say nothing of the run."""

COMMON = "all alike"
ROW_HEIGHT = 28


@dataclass(frozen=True)
class MeasuredValue:
    """A metric of one group.

    Attributes:
        value: the mean over clips and seeds.
        low: lower end of the 95% bootstrap interval over clips.
        high: upper end.
        by_seed: the mean over clips by seed.
        deviation: standard deviation over seeds; None for one seed.
    """

    value: float
    low: float
    high: float
    by_seed: dict[int, float]
    deviation: float | None


@dataclass(frozen=True)
class AblationRow:
    """One group of runs that differ in the seed alone.

    Attributes:
        label: the settings in which the group differs from the others.
        settings: the same, by name.
        seeds: the seeds of its runs.
        n: clips.
        metrics: values by metric.
        parameters: trainable parameters.
        gates: mean of |α| (or |tanh(g)|) by site after training.
        step_seconds: mean wall-clock seconds of an optimiser step.
    """

    label: str
    settings: Settings
    seeds: tuple[int, ...]
    n: int
    metrics: dict[str, MeasuredValue]
    parameters: int
    gates: dict[int, float]
    step_seconds: float | None


@dataclass(frozen=True)
class _Run:
    card: RunCard
    scores: Scores
    settings: Settings


def ablation_rows(folders: Sequence[Path], metrics: Sequence[str] = tuple(METRICS)) -> list[AblationRow]:
    """Return a row for each group of runs, in the order in which they are given.

    Raises:
        DataError: a folder is no finished run, a run is given twice, or the runs were scored on different clips.
    """
    runs = [_read(folder) for folder in folders]
    if len({run.scores.references_sha256 for run in runs}) > 1:
        raise DataError("The runs were scored against different references; give runs of one dataset and split.")
    varying = _varying([run.settings for run in runs])
    groups: dict[str, list[_Run]] = {}
    for run in runs:
        groups.setdefault(_label(run.settings, varying), []).append(run)
    return [_row(label, group, varying, metrics) for label, group in groups.items()]


def _read(folder: Path) -> _Run:
    for name in ("run_card.json", "settings.json", "scores/audio.json"):
        if not (folder / name).is_file():
            raise DataError(f"{folder}: no finished run here ({name} is absent).")
    card = RunCard.read(folder / "run_card.json")
    scores = Scores.read(folder / "scores" / "audio.json")
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    flat = dict(_flatten(settings["settings"])) | {
        f"system.{key}": value for key, value in card.system.config.items() if value is not None
    }
    used = [name for name in OBJECTIVES if name in card.training.loss_weights]
    flat |= {"system": card.system.name, "dataset": settings["dataset"], "objective": " + ".join(used)}
    unused = tuple(f"{name}." for name in OBJECTIVES if name not in used)
    dropped = [key for key in flat if key in _FOLLOWS or key == "seed" or key.startswith(("reference.", *unused))]
    return _Run(card, scores, {key: value for key, value in flat.items() if key not in dropped})


def _flatten(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{before}{key}.")
        else:
            yield before + key, value


def _varying(settings: Sequence[Settings]) -> list[str]:
    """Return the settings that are not the same in all runs; of several systems, those that vary within one of them."""
    by_system: dict[str, list[Settings]] = {}
    for one in settings:
        by_system.setdefault(one["system"], []).append(one)
    varying = ["system"] if len(by_system) > 1 else []
    for group in by_system.values():
        names = [
            name
            for name in dict.fromkeys(name for one in group for name in one)
            if not name.startswith(tuple(f"{objective}." for objective in OBJECTIVES))
            or all(name in one for one in group)
        ]
        varying += [name for name in names if len({repr(one.get(name)) for one in group}) > 1]
    return list(dict.fromkeys(varying))


def _label(settings: Settings, varying: Sequence[str]) -> str:
    parts = [f"{name.removeprefix('system.')} {_say(settings[name])}" for name in varying if name in settings]
    return ", ".join(part.removeprefix("system ") for part in parts) or COMMON


def _say(value: Any) -> str:
    return "{" + ", ".join(map(str, value)) + "}" if isinstance(value, list | tuple) else str(value)


def _row(label: str, runs: Sequence[_Run], varying: Sequence[str], metrics: Sequence[str]) -> AblationRow:
    seeds = [run.card.seed for run in runs]
    if len(set(seeds)) < len(seeds):
        raise DataError(f"{label}: two runs have the same seed and settings; give each run once.")
    sites = [run.card.system.final_gates or {} for run in runs]
    costs = [(run.card.cost.hours, run.card.training.steps) for run in runs]
    seconds = [hours * 3600 / steps for hours, steps in costs if hours and steps]
    return AblationRow(
        label=label,
        settings={name: runs[0].settings[name] for name in varying if name in runs[0].settings},
        seeds=tuple(seeds),
        n=runs[0].scores.n,
        metrics={name: _measure(runs, name) for name in metrics if name in runs[0].scores.metrics},
        parameters=runs[0].card.parameters.total,
        gates={site: statistics.fmean(abs(gates[site]) for gates in sites) for site in sites[0]},
        step_seconds=statistics.fmean(seconds) if seconds else None,
    )


def _measure(runs: Sequence[_Run], metric: str) -> MeasuredValue:
    by_clip: dict[str, list[float]] = {}
    for run in runs:
        for clip in run.scores.per_clip:
            value = clip.values.get(metric)
            if value is not None:
                by_clip.setdefault(clip.id, []).append(value)
    means = np.array([statistics.fmean(values) for values in by_clip.values()])
    low, high = interval_of_mean(means)
    by_seed = {run.card.seed: float(run.scores.metrics[metric]) for run in runs}
    deviation = statistics.stdev(by_seed.values()) if len(by_seed) > 1 else None
    return MeasuredValue(float(means.mean()), low, high, by_seed, deviation)


def draw_ablation(rows: Sequence[AblationRow], stem: Path) -> Path:
    """Draw each metric as dots with intervals, seeds as small points, and the gates as bars; write PNG and SVG.

    Returns the PNG's path.
    """
    order = [row.label for row in rows]
    names = list(dict.fromkeys(name for row in rows for name in row.metrics))
    panels = [_metric_panel(rows, name, order) for name in names]
    if any(row.gates for row in rows):
        panels.append(_gate_panel(rows, order))
    write(finished(altair.hconcat(*panels, spacing=16)), stem.with_suffix(""), ("png", "svg"))
    return stem.with_suffix(".png")


def _metric_panel(rows: Sequence[AblationRow], name: str, order: Sequence[str]) -> Any:
    cells = [(row.label, row.metrics[name]) for row in rows if name in row.metrics]
    frame = polars.DataFrame([{"group": label, "value": m.value, "low": m.low, "high": m.high} for label, m in cells])
    seeds = polars.DataFrame([{"group": label, "value": v} for label, m in cells for v in m.by_seed.values()])
    title = METRICS.get(name, name)
    y = altair.Y("group:N", sort=list(order), title=None, axis=altair.Axis(labelLimit=260))
    x = altair.X(
        "value:Q",
        title="mean, 95% interval over clips; seeds small",
        scale=altair.Scale(zero=False),
        axis=altair.Axis(tickCount=4),
    )
    interval = altair.Chart(frame).mark_rule(strokeWidth=1.6, color=BLUE)
    rule = interval.encode(y=y, x=altair.X("low:Q"), x2="high:Q")
    points = altair.Chart(seeds).mark_point(size=22, color="#666666", opacity=0.9).encode(y=y, x=x)
    mean = altair.Chart(frame).mark_point(size=70, filled=True, color=BLUE, opacity=1).encode(y=y, x=x)
    return altair.layer(rule, points, mean).properties(title=title, width=240, height=altair.Step(ROW_HEIGHT))


def _gate_panel(rows: Sequence[AblationRow], order: Sequence[str]) -> Any:
    frame = polars.DataFrame(
        [{"group": row.label, "site": str(site), "gate": gate} for row in rows for site, gate in row.gates.items()]
    )
    sites = sorted({site for row in rows for site in row.gates})
    if len(sites) > len(CATEGORIES):  # cross-attention has a gate a block: the mean says enough
        means = frame.group_by("group", maintain_order=True).agg(polars.col("gate").mean())
        frame = means.with_columns(site=polars.lit("mean"))
        sites = []
    colour = altair.Color("site:N", sort=[str(site) for site in sites], scale=altair.Scale(range=list(CATEGORIES)))
    return (
        altair.Chart(frame, title="gates", width=180, height={"step": ROW_HEIGHT, "for": "position"})
        .mark_bar()
        .encode(
            y=altair.Y(
                "group:N",
                sort=list(order),
                scale=altair.Scale(domain=list(order)),  # a group without gates keeps its row
                title=None,
                axis=altair.Axis(labels=False, ticks=False),
            ),
            yOffset=altair.YOffset("site:N", sort=[str(site) for site in sites]),
            x=altair.X("gate:Q", title="mean |α| by site", axis=altair.Axis(tickCount=3)),
            color=colour,
        )
    )
