"""What the report's commands ask for in the same words, and how they open a study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fusion_report.figures.style import Figure
    from fusion_report.study import Study
    from fusion_report.table import Table

ResultsArgument = Annotated[
    Path | None,
    typer.Argument(help="The results folder of a study; by default the only one in results/, or results/embedded."),
]
OutOption = Annotated[Path, typer.Option("--out", help="The folder that is written to.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print as JSON.")]
ResamplesOption = Annotated[int, typer.Option("--resamples", help="Resamples of the bootstrap over clips.")]

REPORT = Path("report")
RESAMPLES = 10_000


def open_results(folder: Path | None, resamples: int = RESAMPLES) -> Study:
    """Open a results folder.

    Raises:
        ConfigError: there are several and none is preferred, or the resamples are too few.
        DataError: there is none.
    """
    from fusion_eval.bootstrap import check_resampling
    from fusion_report.measuring import Measuring
    from fusion_report.study import open_study

    check_resampling(resamples, 0)
    return open_study(folder, Measuring(resamples))


def show_table(table: Table) -> None:
    """Print a table with its notes, which say why a cell is empty; as Markdown where the terminal is too narrow for it."""
    from fusion_report.rendering import plain, render_markdown
    from rich.markup import escape
    from rich.table import Table as Shown

    from fusion_cli.console import stdout

    notes = table.notes()
    shown = Shown(title=escape(table.title), title_justify="left")
    for column in table.columns:
        shown.add_column(escape(column.title), justify="right" if column.numeric else "left", overflow="fold")
    for row in table.rows:
        if row.section is not None:
            shown.add_row(f"[italic]{escape(row.section)}[/italic]")
        cells = [escape(plain(cell)) + (f" ({notes[cell.reason]})" if cell.reason else "") for cell in row.cells]
        shown.add_row(*cells)
    wanted = stdout.measure(shown, options=stdout.options.update(width=10_000)).maximum
    if wanted > stdout.width:
        stdout.print(render_markdown(table), markup=False, soft_wrap=True)
        return
    stdout.print(shown)
    for reason, mark in notes.items():
        stdout.print(f"({mark}) {reason}", markup=False, soft_wrap=True)


def draw(figure: Figure, out: Path) -> list[Path]:
    """Write a figure as SVG, PNG and PDF.

    Raises:
        DataError: there is nothing to draw; the sentence says why.
    """
    from fusion_eval.errors import DataError
    from fusion_report.figures.style import write

    from fusion_cli.console import notify

    if figure.chart is None:
        raise DataError(f"Figure «{figure.title}» cannot be drawn: {figure.reason}")
    paths = write(figure.chart, out / "figures" / figure.key)
    notify(f"Figure: {', '.join(str(path) for path in paths)}")
    return paths
