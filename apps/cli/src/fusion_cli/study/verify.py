"""``fusion study verify``: compute hashes and scores again, and say what differs."""

from __future__ import annotations

import typer

from fusion_cli.study.inputs import AsJson, ResultsFolder, StudyFile, WorkFolder


def verify(
    study: StudyFile,
    work: WorkFolder = None,
    results: ResultsFolder = None,
    as_json: AsJson = False,
) -> None:
    """Compute every hash and every score of the kept results again, from predictions and references; exit 5 where one differs.

    Needs neither weights nor data: the references are kept beside the results.

    Example: fusion study verify configs/studies/embedded.yaml
    """
    from fusion_core.progress import progress_bar
    from fusion_train.study.config import load_study
    from fusion_train.study.runner import places, standing
    from fusion_train.study.verify import verify_study
    from rich.table import Table

    from fusion_cli.console import print_json, stdout

    config = load_study(study)
    workspace, kept = places(config, work, results)
    seen: list[str] = []
    with progress_bar() as bar:
        task = bar.add_task("verify", total=None)

        def count(name: str) -> None:
            seen.append(name)
            bar.advance(task)

        found = verify_study(standing(config, workspace, kept).plan, kept, count)
    if as_json:
        print_json({"runs": len(seen), "differences": [vars(one) for one in found]})
    elif found:
        table = Table(title=f"{len(found)} differences in {kept.root}", title_justify="left")
        for column in ("run", "file", "what"):
            table.add_column(column, overflow="fold")
        for one in found:
            table.add_row(one.run, one.file, one.what)
        stdout.print(table)
    else:
        stdout.print(f"{len(seen)} runs in {kept.root}: every hash and every score is what it is said to be.")
    if found:
        raise typer.Exit(5)
