"""``fusion report tables``: every table of a study, or some of them."""

from __future__ import annotations

from typing import Annotated

import typer

from fusion_cli.reporting.options import (
    REPORT,
    RESAMPLES,
    JsonOption,
    OutOption,
    ResamplesOption,
    ResultsArgument,
    open_results,
    show_table,
)


def tables(
    results: ResultsArgument = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="Names of tables; all if not given.")] = None,
    out: OutOption = REPORT,
    as_json: JsonOption = False,
    resamples: ResamplesOption = RESAMPLES,
) -> None:
    """Write the tables as Markdown, LaTeX, CSV and JSON, and print them.

    An empty cell says why it is empty; a caption says on what, over which seeds and by which versions.

    Example: fusion report tables --only main-results --only retention
    """
    from fusion_core.progress import track
    from fusion_eval.errors import ConfigError
    from fusion_eval.files import write_atomic
    from fusion_report.rendering import RENDERERS
    from fusion_report.tables.catalogue import TABLES

    from fusion_cli.console import notify, print_json

    wanted = only or list(TABLES)
    unknown = [name for name in wanted if name not in TABLES]
    if unknown:
        raise ConfigError(f"--only: there is no table '{unknown[0]}'; the tables are {', '.join(TABLES)}.")
    study = open_results(results, resamples)
    found = [TABLES[name](study) for name in track(wanted, "tables")]
    for table in found:
        for ending, render in RENDERERS.items():
            write_atomic(out / "tables" / f"{table.key}.{ending}", render(table).encode())
        if not as_json:
            show_table(table)
    if as_json:
        print_json([table.model_dump(mode="json", by_alias=True, exclude_none=True) for table in found])
    notify(f"Tables: {out / 'tables'}")
