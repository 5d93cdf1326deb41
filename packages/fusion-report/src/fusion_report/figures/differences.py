"""Figure F2: the additive system less each other one, with its 95% interval, a panel a metric."""

from __future__ import annotations

from typing import Any

import altair
import polars
from fusion_eval.errors import DataError

from fusion_report.figures.style import PAGE, RULE, Figure, colour_of, finished, nothing, ticks
from fusion_report.metric_names import METRICS, label_of, present
from fusion_report.study import Study
from fusion_report.tables.comparisons import compare_to_additive

KEY, TITLE = "bootstrap", "Additive less each other system"
_PANELS = 3
_ROW = 20


def bootstrap_differences(study: Study) -> Figure:
    """Return the figure: a row a system and stage, a panel a metric, the score first."""
    groups = study.main(study.dataset)
    metrics = present(study.files(groups))
    chosen = list(
        dict.fromkeys([study.score, *(name for name in ("meteor", "event_f1", *METRICS) if name in metrics)])
    )[:_PANELS]
    rows: list[dict[str, Any]] = []
    sources: list[str] = []
    for group in groups:
        if study.reference(group.stage) is group:
            continue
        try:
            found, places = compare_to_additive(study, group, chosen)
        except DataError:
            continue
        sources += places
        for name in chosen:
            if name not in found.metrics:
                continue
            difference = found.metrics[name].difference
            if difference.spread is not None:
                interval = difference.spread.bca or difference.spread.percentile
                rows.append(
                    {"other": group.label, "system": group.system, "metric": name, "value": difference.value}
                    | {"low": interval.low, "high": interval.high}
                )
    if not rows:
        return nothing(KEY, TITLE, "There are no two systems with scores on the same clips to compare.")
    drawn = [name for name in chosen if any(row["metric"] == name for row in rows)]
    panels = [
        _panel([row for row in rows if row["metric"] == name], name, len(drawn), place == 0)
        for place, name in enumerate(drawn)
    ]
    return Figure(
        key=KEY,
        title=TITLE,
        caption=(
            f"Paired differences on {study.dataset} test, additive less the named system after the same training,"
            " with 95% intervals of"
            f" the bootstrap over clips ({study.measuring.resamples:,} resamples, seeds averaged). Right of the"
            " dashed line additive is better.",
        ),
        chart=finished(altair.hconcat(*panels, spacing=14)),
        colours=tuple(dict.fromkeys(colour_of(str(row["system"])) for row in rows)),
        sources=tuple(dict.fromkeys(sources)),
    )


def _panel(rows: list[dict[str, Any]], metric: str, panels: int, first: bool) -> Any:
    order = list(dict.fromkeys(row["other"] for row in rows))
    y = altair.Y(
        "other:N",
        sort=order,
        title=None,
        axis=altair.Axis(labels=first, ticks=first, grid=False, labelLimit=150),
    )
    x = altair.X(
        "value:Q",
        title=f"Δ {label_of(metric)}",
        scale=ticks([0.0, *(row[name] for row in rows for name in ("low", "high"))]),
        axis=altair.Axis(tickCount=4),
    )
    systems = list(dict.fromkeys(row["system"] for row in rows))
    scale = altair.Scale(domain=systems, range=[colour_of(system) for system in systems])
    colour = altair.Color("system:N", scale=scale, legend=None)
    base = altair.Chart(polars.DataFrame(rows)).encode(y=y, color=colour)
    zero = altair.Chart(polars.DataFrame({"value": [0.0]})).mark_rule(color=RULE, strokeDash=[4, 3]).encode(x=x)
    bars = base.mark_rule(strokeWidth=1.8).encode(x=altair.X("low:Q", scale=x["scale"]), x2="high:Q")
    points = base.mark_point(filled=True, size=55, opacity=1).encode(x=x)
    return altair.layer(zero, bars, points).properties(
        width=(PAGE - 190 - 14 * (panels - 1)) / panels, height=altair.Step(_ROW)
    )
