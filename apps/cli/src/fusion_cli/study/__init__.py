"""``fusion study``: plan, run, watch and verify a whole study. One file a command."""

from __future__ import annotations

import typer

from fusion_cli.study.plan import plan
from fusion_cli.study.run import run
from fusion_cli.study.status import status
from fusion_cli.study.verify import verify

app = typer.Typer(help="Plan, run, watch and verify a whole study.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Plan, run, watch and verify a whole study."""


app.command()(plan)
app.command()(run)
app.command()(status)
app.command()(verify)
