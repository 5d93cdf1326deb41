"""``fusion eval captions``: score the captions of one system."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusion_cli.evaluation.inputs import (
    AllowMissing,
    AssetsFolder,
    Clips,
    EventsFile,
    MetricDocumentFrequency,
    MetricNames,
    read_clip_list,
    read_document_frequency,
    read_events,
    split_names,
)

if TYPE_CHECKING:
    from fusion_eval.schemas.scores import Scores


def captions(
    predictions: Annotated[
        Path,
        typer.Option(help="The captions: a predictions.json, a COCO results file, or a CSV as aac-metrics reads it."),
    ],
    references: Annotated[
        Path,
        typer.Option(
            help="What they are compared with: a references file, COCO annotations, or a CSV of AudioCaps or Clotho."
        ),
    ],
    events: EventsFile = None,
    clips: Clips = None,
    metrics: MetricNames = "all",
    out: Annotated[Path | None, typer.Option(help="Write the scores, also clip by clip, to this file.")] = None,
    allow_missing: AllowMissing = False,
    document_frequency: MetricDocumentFrequency = None,
    assets: AssetsFolder = None,
    column: Annotated[
        list[str] | None,
        typer.Option(help="Published values NAME=FILE.csv:COLUMN (error_probability, sbert_sim, spice); repeatable."),
    ] = None,
    tokenised: Annotated[
        bool, typer.Option("--tokenised", help="The texts are tokens already, with spaces between; leave them so.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON instead of a table.")] = False,
) -> None:
    """Score the captions of one system on one split.

    Every clip of the references counts, or of --clips. A clip without a prediction is refused, or with --allow-missing or
    --clips scored as an empty caption and named in the scores. A metric whose tool is absent is named with the command
    that provides it; the others are computed all the same, and the exit code is 4 where the absent one was asked for by name.

    Examples:

        fusion eval captions --predictions runs/additive/predictions/test.json
        --references data/scenes/references/test.json --out scores.json

        fusion eval captions --predictions mine.csv --references audiocaps/test.csv --metrics bleu,meteor,cider_d

        fusion eval captions --predictions mine.json --references data/audiocaps/references/test.json --clips common-957
    """
    from fusion_eval.columns import read_columns
    from fusion_eval.metrics.base import Resources
    from fusion_eval.readers import read_together
    from fusion_eval.scoring import score

    from fusion_cli.console import metric_bars, notify

    (found,), truth = read_together([predictions], references, notify)
    names = split_names(metrics)
    clip_list = read_clip_list(clips, truth, references)
    counted = clip_list.cut(truth) if clip_list is not None else truth
    with metric_bars() as progress:
        scores = score(
            found,
            truth,
            metrics=names,
            events=read_events(events, references),
            allow_missing=allow_missing,
            clip_list=clip_list,
            resources=Resources(
                document_frequency=read_document_frequency(document_frequency),
                assets=assets,
                tokenised=tokenised,
                columns=read_columns(column or [], [item.id for item in counted.items]),
                progress=progress,
            ),
        )
    if out is not None:
        scores.write(out)
    _show(scores, out, as_json)
    if "all" not in names and scores.unavailable:
        raise typer.Exit(4)


def _show(scores: Scores, out: Path | None, as_json: bool) -> None:
    """Print the values as a table or as JSON, and what is missing as notes."""
    from rich.markup import escape
    from rich.table import Table

    from fusion_cli.console import print_json, stderr, stdout

    if as_json:
        print_json(scores.model_dump(mode="json", exclude_none=True, exclude={"per_clip", "statistics"}))
    else:
        which = f"the {scores.n} clips of {scores.clip_list}" if scores.clip_list else f"{scores.n} clips"
        table = Table(title=escape(f"{scores.system} on {scores.dataset} {scores.split}, {which}"))
        table.add_column("metric")
        table.add_column("value", justify="right")
        table.add_column("n", justify="right")
        for name, value in scores.metrics.items():
            label = f"{name} (oracle)" if name in scores.oracle else name
            shown = f"{value:,.0f}" if name == "vocabulary" else f"{value:.4f}"
            table.add_row(label, shown, str(scores.denominator[name]))
        stdout.print(table)
    for name, reason in scores.unavailable.items():
        stderr.print(f"{name}: {reason}", style="yellow", markup=False)
    if scores.oracle:
        stderr.print("Rows marked (oracle) chose among candidates by the references; they are no system's result.")
    if scores.missing:
        stderr.print(f"{len(scores.missing)} of {scores.n} clips have no prediction and score as an empty caption.")
    if out is not None:
        stderr.print(f"Scores of every clip: {out}")
