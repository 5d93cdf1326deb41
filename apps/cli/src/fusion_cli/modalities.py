"""What ``fusion train`` prints of a run of several modalities: captions and answers by what was bound."""

from __future__ import annotations

from pathlib import Path

from fusion_cli.console import print_json, stdout


def print_modalities(folder: Path, as_json: bool) -> None:
    """Print ``modalities.json`` of a finished run as a table, and where its files lie."""
    from fusion_eval.schemas.questions import ModalityScores
    from rich import box
    from rich.table import Table

    scores = ModalityScores.read(folder / "modalities.json")
    if as_json:
        print_json({"run": str(folder), **scores.model_dump(mode="json", exclude_none=True)})
        return
    kinds = list(dict.fromkeys(kind for one in scores.conditions.values() for kind in one.by_kind))
    table = Table(
        title=f"Test captions and answers of {scores.dataset}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("bound", no_wrap=True)
    for column in ("CIDEr-D", *(["answers"] if kinds else []), *kinds):
        table.add_column(column, justify="right", no_wrap=True)
    order = {name: (-len(one.bound), one.shuffled, one.bound) for name, one in scores.conditions.items()}
    for name in sorted(order, key=order.__getitem__):
        one = scores.conditions[name]
        asked = [one.questions, *(one.by_kind.get(kind) for kind in kinds)] if kinds else []
        cells = ["-" if found is None else f"{found.accuracy:.3f}" for found in asked]
        table.add_row(name, "-" if one.cider_d is None else f"{one.cider_d:.3f}", *cells)
    first = scores.conditions[min(order, key=order.__getitem__)]
    if first.questions is not None:
        chance = [first.questions, *(first.by_kind[kind] for kind in kinds)]
        table.add_section()
        table.add_row("chance", "", *(f"{found.chance:.3f}" for found in chance))
    stdout.print(table)
    for name, count in scores.lacking.items():
        if count:
            stdout.print(f"{count} of {scores.clips} clips have no {name}.")
    for what, place in (
        ("scores", "modalities.json"),
        ("captions", "predictions"),
        ("answers", "answers"),
        ("adapter", "adapter"),
        ("run card", "run_card.json"),
        ("log", "log.jsonl"),
    ):
        if (folder / place).exists():
            stdout.print(f"{what:9} {folder / place}", soft_wrap=True)
