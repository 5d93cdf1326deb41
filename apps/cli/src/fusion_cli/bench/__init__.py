"""``fusion bench``: the ratios that the project promises, each measured in one run. One file a command."""

from __future__ import annotations

import typer

from fusion_cli.bench.caption_metrics import metrics
from fusion_cli.bench.decoding import decoding
from fusion_cli.bench.features import features
from fusion_cli.bench.resampling import statistics
from fusion_cli.bench.scale import scale
from fusion_cli.bench.training import training

app = typer.Typer(help="Measure the ratios that the project promises.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Measure the ratios that the project promises, each side in the same run on the same captions."""


app.command()(metrics)
app.command()(statistics)
app.command()(training)
app.command()(decoding)
app.command()(features)
app.command()(scale)
