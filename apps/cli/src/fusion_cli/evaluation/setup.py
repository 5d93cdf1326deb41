"""``fusion eval setup``: provide the files of METEOR and SPICE, checked by hash."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fusion_eval.provision import Finding


def setup(
    check: Annotated[
        bool, typer.Option("--check", help="Only say what is there and whether it is whole; change nothing.")
    ] = False,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", help="Take the files from this folder, as a copied Maven repository, instead of fetching them."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the files as JSON instead of a table.")] = False,
) -> None:
    """Provide what METEOR and SPICE are made of, about 390 MB, and check it by hash.

    The files of the package pycocoevalcap are only checked. The others are fetched by Maven (mvn) into the user's cache;
    what is there already, also from a fetch that was interrupted, is not fetched again. Exit code 4 where something is
    missing at the end.

    Examples:

        fusion eval setup

        fusion eval setup --check --json
    """
    from fusion_eval.errors import MissingAssetError
    from fusion_eval.java.runtime import find_java
    from fusion_eval.provision import ARTIFACTS
    from fusion_eval.provision import check as look

    if not check:
        _provide(source)
    found = [look(artifact) for artifact in ARTIFACTS]
    try:
        java, detail = find_java().version, ""
    except MissingAssetError as error:
        java, detail = None, str(error)
    _show(found, java, detail, as_json)
    if java is None or any(finding.state != "ok" for finding in found):
        raise typer.Exit(4)


def _provide(source: Path | None) -> None:
    """Fetch or copy what is missing, with a bar that counts bytes."""
    import sys

    from fusion_eval.provision import provide
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from fusion_cli.console import stderr

    columns = (
        TextColumn("METEOR and SPICE"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=stderr, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("files", total=None)
        fetched = provide(source, lambda done, total: bar.update(task, completed=done, total=total))
    stderr.print(f"Provided: {', '.join(one.name for one in fetched)}." if fetched else "Nothing was missing.")


def _show(found: list[Finding], java: str | None, detail: str, as_json: bool) -> None:
    """Print what is there as a table or as JSON."""
    from fusion_cli.console import print_json, stdout

    if as_json:
        files: list[dict[str, Any]] = [vars(finding) for finding in found]
        print_json({"java": java, "files": files} | ({"detail": detail} if detail else {}))
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="METEOR and SPICE", title_justify="left")
    for column in ("", "metric", "what", "MB", "where, or how to get it"):
        table.add_column(column, overflow="fold", justify="right" if column == "MB" else "left")
    marks = {"ok": "[green]ok[/green]", "missing": "[yellow]--[/yellow]", "damaged": "[red]damaged[/red]"}
    table.add_row(marks["ok" if java else "missing"], "both", "java", "", escape(f"Java {java}" if java else detail))
    for (tool, folder), whole in _by_folder(found).items():
        size = sum(one.size for one in whole) / 1e6
        count = f"{len(whole)} files" if len(whole) > 1 else whole[0].name
        table.add_row(marks["ok"], tool, count, f"{size:.1f}", escape(folder))
    for one in found:
        if one.state != "ok":
            table.add_row(marks[one.state], one.tool, one.name, f"{one.size / 1e6:.1f}", escape(one.detail))
    stdout.print(table)


def _by_folder(found: list[Finding]) -> dict[tuple[str, str], list[Finding]]:
    """Return the whole files by metric and by the folder of the wheel or the cache that they lie in."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for one in found:
        if one.state == "ok":
            folder = str(Path(one.detail).parent)
            groups.setdefault((one.tool, folder), []).append(one)
    return groups
