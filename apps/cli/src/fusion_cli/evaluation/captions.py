"""``fusion eval captions``: score the captions of one system."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fusion_eval.schemas.events import SceneEvents
    from fusion_eval.schemas.scores import Scores


def captions(
    predictions: Annotated[Path, typer.Option(help="The captions: a predictions.json.")],
    references: Annotated[Path, typer.Option(help="What they are compared with: a references file.")],
    events: Annotated[
        Path | None,
        typer.Option(help="Event graphs of the split; found beside the references where they lie in events/."),
    ] = None,
    metrics: Annotated[str, typer.Option(help="Metrics with commas between, or all.")] = "all",
    out: Annotated[Path | None, typer.Option(help="Write the scores, also clip by clip, to this file.")] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Score clips without a prediction as an empty caption.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON instead of a table.")] = False,
) -> None:
    """Score the captions of one system on one split.

    Every clip of the references counts. A clip without a prediction is refused, or with --allow-missing scored as an
    empty caption and named in the scores.

    Example: fusion eval captions --predictions runs/additive/predictions/test.json
    --references data/scenes/references/test.json --out scores.json
    """
    from fusion_eval.schemas.predictions import Predictions
    from fusion_eval.schemas.references import References
    from fusion_eval.scoring import score

    scores = score(
        Predictions.read(predictions),
        References.read(references),
        metrics=[name.strip() for name in metrics.split(",") if name.strip()],
        events=_read_events(events, references),
        allow_missing=allow_missing,
    )
    if out is not None:
        scores.write(out)
    _show(scores, out, as_json)


def _read_events(events: Path | None, references: Path) -> SceneEvents | None:
    """Read the event graphs: of the file given, or of events/<split>.json where the references lie in references/."""
    from fusion_eval.schemas.events import SceneEvents

    beside = references.parent.parent / "events" / references.name
    if events is None and references.parent.name == "references" and beside.is_file():
        events = beside
    return SceneEvents.read(events) if events is not None else None


def _show(scores: Scores, out: Path | None, as_json: bool) -> None:
    """Print the values as a table or as JSON, and what is missing as notes."""
    from rich.markup import escape
    from rich.table import Table

    from fusion_cli.console import print_json, stderr, stdout

    if as_json:
        print_json(scores.model_dump(mode="json", exclude_none=True, exclude={"per_clip"}))
    else:
        table = Table(title=escape(f"{scores.system} on {scores.dataset} {scores.split}, {scores.n} clips"))
        table.add_column("metric")
        table.add_column("value", justify="right")
        table.add_column("n", justify="right")
        for name, value in scores.metrics.items():
            table.add_row(name, f"{value:.4f}", str(scores.denominator[name]))
        stdout.print(table)
    for name, reason in scores.unavailable.items():
        stderr.print(f"{name}: {reason}", style="yellow")
    if scores.missing:
        stderr.print(f"{len(scores.missing)} of {scores.n} clips have no prediction and score as an empty caption.")
    if out is not None:
        stderr.print(f"Scores of every clip: {out}")
