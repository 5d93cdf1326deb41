"""``fusion backbone``: backbones that are trained on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fusion_cli.console import notify, print_json, stderr, stdout

if TYPE_CHECKING:
    from fusion_train.backbone_builders import BuiltBackbone

app = typer.Typer(
    no_args_is_help=True, help="Train the small vision-language backbones anew; list all backbones that there are."
)


@app.command("build")
def build(
    name: Annotated[str, typer.Argument(help="What to build: smollm2-vl or tiny-vlm.")],
    seed: Annotated[int, typer.Option(help="Seed of weights, images and order.")] = 0,
    again: Annotated[bool, typer.Option("--again", help="Build anew what was built before.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train a backbone on procedural images and questions, and say what it sees.

    It can be stopped at any time: the same command goes on from the last checkpoint, to the same bits. What was built is kept and
    not built again. Eyes of smollm2-vl that were built here are taken instead of those that come with the package. *blind* is the
    same model without the image; *greedy* is how often free decoding begins with the answer.

    Example: fusion backbone build smollm2-vl
    """
    from fusion_train.backbone_builders import BUILDERS

    built = BUILDERS.load(name)(seed, again, lambda sentence: notify(f"▸ {sentence}"))
    if as_json:
        print_json(_result(built))
    else:
        _print(built)


@app.command("list")
def list_backbones(
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """List the backbones that have a name, what those that see make of new images, and which of them can be built here.

    Any folder with a model of transformers is a backbone too: fusion train scenes --set backbone=FOLDER.

    Example: fusion backbone list
    """
    from fusion_core.pretrained import BACKBONES
    from fusion_train.backbone_builders import BUILDERS

    rows = [_row(name, BUILDERS.names()) for name in BACKBONES.names()]
    if as_json:
        print_json(rows)
        return
    from rich.table import Table

    table = Table("backbone", "trained", "answers", "blind", "built by")
    for row in rows:
        scores = (f"{row[key]:.1%}" if row[key] is not None else "" for key in ("accuracy", "blind"))
        table.add_row(row["name"], row["trained"] or "", *scores, row["built_by"] or "")
    stdout.print(table)
    stdout.print("answers: questions about new images answered rightly, mean over the kinds; blind: without the image.")


def _row(name: str, builders: list[str]) -> dict[str, Any]:
    """Return what the list says of a backbone."""
    from fusion_train.backbone_builders import find_trained

    found = find_trained(name) if name in builders else None
    return {
        "name": name,
        "trained": None if found is None else "on this machine" if found.built_here else "with the package",
        "accuracy": None if found is None else found.accuracy,
        "blind": None if found is None else found.blind,
        "built_by": f"fusion backbone build {name}" if name in builders else None,
    }


def _result(built: BuiltBackbone) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(built), "folder": str(built.folder)}


def _print(built: BuiltBackbone) -> None:
    from rich.table import Table

    columns = ("accuracy", "greedy", "blind", "chance")
    table = Table(title=f"{built.name}: images that training never showed", title_justify="left")
    table.add_column("question")
    table.add_column("asked", justify="right")
    for column in columns:
        table.add_column(column, justify="right")
    for score in built.scores:
        table.add_row(score.category, str(score.questions), *(f"{getattr(score, column):.3f}" for column in columns))
    means = [sum(getattr(score, column) for score in built.scores) / len(built.scores) for column in columns]
    table.add_row("mean", str(sum(score.questions for score in built.scores)), *(f"{mean:.3f}" for mean in means))
    stdout.print(table)
    stderr.print(f"built in {built.minutes:g} minutes: {built.folder}", soft_wrap=True)
