"""``fusion report``: tables and figures from files alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusion_cli.methods import methods
from fusion_cli.page import html
from fusion_cli.reporting.figures import bootstrap, gates, pareto, stability
from fusion_cli.reporting.tables import tables
from fusion_cli.reporting.whole import checklist, report_all

if TYPE_CHECKING:
    from fusion_report.ablation import AblationRow
    from fusion_report.curves import RunCurves

app = typer.Typer(no_args_is_help=True, help="Tables and figures from files alone: run cards, scores, logs.")
app.command("all")(report_all)
app.command("tables")(tables)
app.command("pareto")(pareto)
app.command("stability")(stability)
app.command("gates")(gates)
app.command("bootstrap")(bootstrap)
app.command("checklist")(checklist)
app.command("methods")(methods)
app.command("html")(html)


@app.command()
def ablation(
    runs: Annotated[list[Path], typer.Argument(help="Run directories; seeds of the same settings are put together.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Draw the figure: FILE.png and FILE.svg. Not drawn if not given.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Say what settings are worth: finished runs, grouped by the settings in which they differ.

    Values are means over clips and seeds with a 95% bootstrap interval over clips, and the standard deviation over seeds.

    Example: fusion report ablation runs/sites-12-* runs/sites-24-* runs/sites-12-24-* --out report/sites.png
    """
    import dataclasses

    from fusion_report.ablation import ablation_rows, draw_ablation

    from fusion_cli.console import print_json, stderr

    rows = ablation_rows(runs)
    if as_json:
        print_json([dataclasses.asdict(row) for row in rows])
    else:
        _show(rows)
    if out is not None:
        stderr.print(f"Figure: {draw_ablation(rows, out)}", soft_wrap=True)


@app.command()
def curves(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Run directories, running or finished; several are overlaid. Without one, the systems of the study in results/."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Draw the figure: FILE.png and FILE.svg. Not drawn if not given; of a study, the folder (default: report).",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every point as JSON.")] = False,
) -> None:
    """Show how runs went or are going: loss, val CIDEr-D, gates, additions, learning rates, rewards; from their logs alone.

    What happened on the way (taken up again, a phase, a contingency) is marked by rules in the figure.

    Example: fusion report curves runs/scenes-additive-0 runs/scenes-concat-0 --out report/curves.png
    """
    from fusion_report.curve_figure import draw_curves
    from fusion_report.curves import read_curves

    from fusion_cli.console import print_json, stderr

    if not runs:
        _draw_study(out)
        out, runs = None, _logged_runs()
    found = read_curves(runs)
    if as_json:
        print_json([run.as_dict() for run in found])
    else:
        _show_curves(found)
    if out is not None:
        stderr.print(f"Figure: {draw_curves(found, out)}", soft_wrap=True)


def _draw_study(out: Path | None) -> None:
    """Draw the curves of the main systems of the study, seeds together (F1)."""
    from fusion_report.figures.training import training

    from fusion_cli.reporting.options import REPORT, draw, open_results

    draw(training(open_results(None)), out or REPORT)


def _logged_runs() -> list[Path]:
    """Return the folders of the main systems' runs that have a log."""
    from fusion_report.curves import LOG_FILE

    from fusion_cli.reporting.options import open_results

    return [run.folder for group in open_results(None).main_groups() for run in group.done(LOG_FILE)]


def _show_curves(runs: list[RunCurves]) -> None:
    from fusion_report.curves import PANELS, smoothed
    from rich.table import Table

    from fusion_cli.console import stdout

    table = Table(title="Runs so far; the loss is a moving average", title_justify="left")
    table.add_column("run", overflow="fold")
    judged_by = " or ".join(dict.fromkeys(PANELS[run.judged_by] for run in runs))
    for column in ("state", "step", "loss", f"best {judged_by}", "gates", "addition"):
        table.add_column(column, justify="right")
    for run in runs:
        loss = smoothed(run.series.get("loss", {}).get("loss", {}))
        best = f"{run.best[1]:.3f} at {run.best[0]}" if run.best else ""
        sites = [
            _gates({int(site): value for site, value in run.last(panel).items() if site.isdecimal()})
            for panel in ("gates", "addition_ratio")
        ]
        now = f"{loss[max(loss)]:.3f}" if loss else ""
        table.add_row(run.run, run.state, str(run.step), now, best, *sites)
        for mark in run.marks:
            table.add_row("", "", str(mark.step), f"[dim]{mark.text}[/dim]")
    stdout.print(table)


def _show(rows: list[AblationRow]) -> None:
    from fusion_report.controls import METRICS
    from rich.table import Table

    from fusion_cli.console import stdout

    names = list(dict.fromkeys(name for row in rows for name in row.metrics))
    table = Table(
        title=f"{rows[0].n} clips; mean [95% interval over clips] ± deviation over seeds", title_justify="left"
    )
    table.add_column("setting", overflow="fold")
    table.add_column("seeds", justify="right")
    for name in names:
        table.add_column(METRICS.get(name, name), justify="right")
    for column in ("trainable", "step", "mean |α| by site"):
        table.add_column(column, justify="right")
    for row in rows:
        cells = []
        for name in names:
            one = row.metrics[name]
            spread = f" ± {one.deviation:.3f}" if one.deviation is not None else ""
            cells.append(f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]{spread}")
        step = f"{row.step_seconds:.2f} s" if row.step_seconds else ""
        table.add_row(row.label, str(len(row.seeds)), *cells, f"{row.parameters:,}", step, _gates(row.gates))
    stdout.print(table)


def _gates(gates: dict[int, float]) -> str:
    """Return the gates by site; of many sites the mean."""
    if len(gates) > 4:
        return f"{sum(gates.values()) / len(gates):.3f} (mean of {len(gates)})"
    return ", ".join(f"{site}: {gate:.3f}" for site, gate in gates.items())
