"""``fusion report pareto|stability|gates|bootstrap``: one figure with the table that it is drawn from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from fusion_cli.reporting.options import (
    REPORT,
    RESAMPLES,
    JsonOption,
    OutOption,
    ResamplesOption,
    ResultsArgument,
    draw,
    open_results,
    show_table,
)


def pareto(
    results: ResultsArgument = None,
    out: OutOption = REPORT,
    as_json: JsonOption = False,
    resamples: ResamplesOption = RESAMPLES,
) -> None:
    """Draw score against trainable parameters with the Pareto front (Fig. 2), and print its points.

    Example: fusion report pareto
    """
    from fusion_report.figures.pareto import pareto as pareto_figure
    from fusion_report.figures.pareto import pareto_points
    from fusion_report.metric_names import label_of
    from rich.markup import escape
    from rich.table import Table

    from fusion_cli.console import print_json, stdout

    study = open_results(results, resamples)
    points = pareto_points(study)
    draw(pareto_figure(study), out)
    if as_json:
        print_json([dataclasses.asdict(point) for point in points])
        return
    score = label_of(study.score)
    table = Table(title=f"{score} on {study.dataset} against trainable parameters", title_justify="left")
    table.add_column("system")
    for column in ("trainable", score, "95% interval", "on the front"):
        table.add_column(column, justify="right")
    for point in points:
        interval = f"[{point.low:.3f}, {point.high:.3f}]"
        front = "yes" if point.front else ""
        table.add_row(escape(point.label), f"{point.parameters:,.0f}", f"{point.score:.3f}", escape(interval), front)
    stdout.print(table)


def stability(results: ResultsArgument = None, out: OutOption = REPORT, as_json: JsonOption = False) -> None:
    """Draw the stability frontier (Fig. 3): what is heard against what is still answered; print the retention table.

    Example: fusion report stability results/embedded
    """
    _figure_with_table(results, out, as_json, "stability", "retention")


def gates(results: ResultsArgument = None, out: OutOption = REPORT, as_json: JsonOption = False) -> None:
    """Draw the gates by layer and step for each choice of sites (Fig. 4); print the ablation table.

    Example: fusion report gates
    """
    _figure_with_table(results, out, as_json, "gates", "ablations")


def bootstrap(
    results: ResultsArgument = None,
    out: OutOption = REPORT,
    as_json: JsonOption = False,
    resamples: ResamplesOption = RESAMPLES,
) -> None:
    """Draw the paired differences of additive to each other system with their intervals (F2), and print them with p-values.

    Example: fusion report bootstrap --resamples 10000
    """
    _figure_with_table(results, out, as_json, "bootstrap", "comparisons", resamples)


def _figure_with_table(
    results: Path | None, out: Path, as_json: bool, figure: str, table: str, resamples: int = RESAMPLES
) -> None:
    """Draw a figure and print a table; where there is nothing to draw the table is printed all the same."""
    from fusion_eval.errors import DataError
    from fusion_report.figures.catalogue import FIGURES
    from fusion_report.tables.catalogue import TABLES

    from fusion_cli.console import notify, print_json

    study = open_results(results, resamples)
    found = TABLES[table](study)
    if as_json:
        print_json(found.model_dump(mode="json", by_alias=True, exclude_none=True))
    else:
        show_table(found)
    try:
        draw(FIGURES[figure](study), out)
    except DataError as error:
        notify(str(error))
