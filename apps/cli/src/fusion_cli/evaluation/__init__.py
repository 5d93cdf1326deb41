"""``fusion eval``: score files of captions, compare systems, rerank candidates. One file a command."""

from __future__ import annotations

import typer

from fusion_cli.evaluation.captions import captions
from fusion_cli.evaluation.compare import SeveralFiles, compare
from fusion_cli.evaluation.document_frequency import document_frequency
from fusion_cli.evaluation.rerank import rerank, tune_rerank
from fusion_cli.evaluation.retention import retention
from fusion_cli.evaluation.setup import setup
from fusion_cli.evaluation.similarity import similarity

app = typer.Typer(help="Score captions, compare systems, rerank candidates.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Score captions, compare systems, rerank candidates."""


app.command()(captions)
app.command(cls=SeveralFiles)(compare)
app.command()(rerank)
app.command("tune-rerank")(tune_rerank)
app.command()(similarity)
app.command()(retention)
app.command("document-frequency")(document_frequency)
app.command()(setup)
