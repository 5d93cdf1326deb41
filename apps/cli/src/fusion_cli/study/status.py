"""``fusion study status``: where every run of a study stands."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fusion_cli.study.inputs import AsJson, ResultsFolder, StudyFile, WorkFolder

if TYPE_CHECKING:
    from fusion_train.study.status import RunStatus, StudyStatus

COLOURS = {"done": "green", "running": "cyan", "open": "dim", "failed": "red", "missing": "yellow"}


def status(
    study: StudyFile,
    once: Annotated[bool, typer.Option("--once", help="Print it once, also while the study runs.")] = False,
    work: WorkFolder = None,
    results: ResultsFolder = None,
    as_json: AsJson = False,
) -> None:
    """Show where every run stands, from files alone; in a terminal it goes on for as long as the study runs.

    Example: fusion study status configs/studies/tiny.yaml
    """
    from fusion_train.study.config import load_study
    from fusion_train.study.runner import places
    from fusion_train.study.status import study_status
    from rich.live import Live

    from fusion_cli.console import print_json, stdout

    config = load_study(study)
    workspace, kept = places(config, work, results)
    found = study_status(config, workspace, kept)
    if as_json:
        print_json(_as_json(found))
        return
    if once or not found.running or not stdout.is_terminal:
        stdout.print(_table(found, config.name))
        return
    with Live(_table(found, config.name), console=stdout, auto_refresh=False) as live:
        while found.running:
            time.sleep(2)
            found = study_status(config, workspace, kept)
            live.update(_table(found, config.name), refresh=True)


def _table(found: StudyStatus, name: str) -> Any:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    counts = ", ".join(f"{found.count(state)} {state}" for state in COLOURS if found.count(state))
    table = Table(title=f"Study {name}: {counts}{'; at work' if found.running else ''}", title_justify="left")
    for column in ("phase", "run", "state", "steps", "measures", "why"):
        table.add_column(column, justify="right" if column in ("phase", "steps") else "left", overflow="fold")
    for one in found.runs:
        table.add_row(
            str(one.entry.phase),
            one.entry.name,
            Text(one.state, style=COLOURS[one.state]),
            f"{one.step}/{one.steps}" if one.step is not None and one.entry.stage != "sanity" else "",
            _measures(one),
            one.entry.reason if one.state in ("failed", "missing") else "",
        )
    decisions = [Text(f"{one.rule}: {one.outcome}") for one in found.decisions]
    return Group(table, *decisions)


def _measures(one: RunStatus) -> str:
    if one.entry.status != "done":
        return ""
    return ", ".join(f"{name} {measure.status}" for name, measure in one.entry.measures.items())


def _as_json(found: StudyStatus) -> dict[str, Any]:
    rows = [
        {**one.entry.model_dump(mode="json"), "state": one.state, "step": one.step, "steps": one.steps}
        for one in found.runs
    ]
    return {
        "running": found.running,
        "counts": {state: found.count(state) for state in COLOURS},
        "runs": rows,
        "decisions": [one.model_dump(mode="json") for one in found.decisions],
    }
