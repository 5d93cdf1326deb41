"""The rows that the charts draw, in long form: one row a point."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from fusion_eval.errors import DataError

from fusion_report.curves import Points, read_curves
from fusion_report.metric_names import label_of
from fusion_report.page.labels import run_label
from fusion_report.page.outputs import ORACLE, RERANKED, STAGES_WITHOUT_CAPTIONS, PageResults, PageRun, condition_label
from fusion_report.page.summary import Group

Row = dict[str, Any]
MOST_POINTS = 240
DIGITS = 5
STABILITY_FILE = "stability.jsonl"
_SCORINGS = ("likelihood_normalised", "contains", "exact")  # of an answer, the finest that was measured


def score_rows(groups: Sequence[Group], metrics: Sequence[str], split: str) -> list[Row]:
    """Return a row for each group, metric and condition, with what the group costs."""
    rows = []
    for group in groups:
        for condition in group.conditions(split):
            for metric in metrics:
                cell = group.cell(condition, metric, split)
                if cell.value is None or condition == ORACLE:
                    continue
                rows.append(
                    {
                        "dataset": group.dataset,
                        "label": group.label + (" + reranked" if condition == RERANKED else ""),
                        "group": group.label,
                        "system": group.system,
                        "stage": "reranked" if condition == RERANKED else group.stage.upper(),
                        "condition": condition_label(condition),
                        "heard": condition in (group.whole, RERANKED),
                        "parameters": group.parameters,
                        "metric": label_of(metric),
                        "value": round(cell.value, DIGITS),
                        "low": _rounded(cell.low),
                        "high": _rounded(cell.high),
                        "seeds": len(cell.by_seed),
                        "deviation": _rounded(cell.deviation),
                    }
                )
    return rows


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)


def gate_rows(results: PageResults) -> list[Row]:
    """Return the size of every gate after training, by site: a row for each run and site."""
    return [
        {**_run(run), "site": site, "gate": round(abs(gate), DIGITS)}
        for run in results.runs
        if run.card is not None
        for site, gate in sorted((run.card.system.final_gates or {}).items())
    ]


def _run(run: PageRun) -> Row:
    return {"run": run.plan.name, "label": run_label(run.plan), "system": run.plan.system, "seed": run.plan.seed}


def curve_rows(results: PageResults) -> tuple[list[Row], list[str]]:
    """Return the points of every run's log, thinned out, and a sentence for each log that cannot be read."""
    rows, problems = [], []
    for run in results.runs:
        if not run.folder.is_dir() or run.plan.stage in STAGES_WITHOUT_CAPTIONS:
            continue  # the list of runs says why
        try:
            (curves,) = read_curves([run.folder])
        except DataError as error:
            problems.append(str(error).replace(str(run.folder), run.plan.name))
            continue
        for panel in ("loss", "cider_d", "gates", "reward"):
            series = curves.series.get(panel, {})
            for name, points in sorted(series.items(), key=lambda pair: (len(pair[0]), pair[0])):
                title = {"loss": "loss", "cider_d": "val CIDEr-D", "gates": f"gate of block {name}"}.get(panel, name)
                rows += [
                    {**_run(run), "dataset": run.plan.dataset, "curve": title, "step": step, "value": value}
                    for step, value in _thinned(points)
                ]
    return rows, problems


def _thinned(points: Points) -> list[tuple[int, float]]:
    """Return at most MOST_POINTS points in the order of the steps: the mean of each stretch at its last step."""
    steps = sorted(points)
    span = -(-len(steps) // MOST_POINTS)
    parts = [steps[start : start + span] for start in range(0, len(steps), span or 1)]
    return [(part[-1], round(sum(points[step] for step in part) / len(part), DIGITS)) for part in parts]


def stability_rows(results: PageResults) -> list[Row]:
    """Return what runs still answered while they learned to hear: a row for each measurement and condition."""
    rows = []
    for run in results.runs:
        path = run.folder / STABILITY_FILE
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
        for line in lines:
            try:
                measured = json.loads(line)
            except json.JSONDecodeError:  # cut off by a kill
                continue
            rows += _stability(run, measured)
    return rows


def _stability(run: PageRun, measured: Any) -> list[Row]:
    if not isinstance(measured, Mapping) or not _is_number(measured.get("score")):
        return []
    return [
        {
            **_run(run),
            "step": measured.get("step"),
            "score": round(measured["score"], DIGITS),
            "condition": str(condition),
            "accuracy": round(shares[scoring], DIGITS),
        }
        for condition, shares in measured.items()
        if isinstance(shares, Mapping)
        and (scoring := next((name for name in _SCORINGS if _is_number(shares.get(name))), None))
    ]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
