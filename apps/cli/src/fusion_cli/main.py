"""The ``fusion`` command: one group a file, composed here; errors become one sentence and an exit code here."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated

import typer
from fusion_core.allocation import keep_freed_memory

from fusion_cli import (
    align,
    backbone,
    bench,
    caption,
    data,
    doctor,
    encode,
    evaluation,
    params,
    report,
    sanity,
    study,
    train,
)
from fusion_cli.console import stderr

EPILOGUE = (
    "Exit codes: 0 ok, 2 usage or configuration, 3 data, 4 missing asset or extra, 5 a gate failed, "
    "130 interrupted (state saved)."
)

app = typer.Typer(
    name="fusion",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    epilog=EPILOGUE,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with an error.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Teach a frozen vision-language LLM to hear, for a few million trainable parameters, and measure whether it worked.

    Begin with `fusion train scenes --system additive`, then `fusion caption FILE --ckpt RUN`.
    """
    if debug:
        os.environ["FUSION_DEBUG"] = "1"
    if version:
        from importlib.metadata import version as installed

        print(installed("fusion-cli"))
        raise typer.Exit


app.command("doctor")(doctor.doctor)
app.add_typer(data.app, name="data")
app.command("encode")(encode.encode)
app.command("align")(align.align)
app.command("train")(train.train)
app.command("caption")(caption.caption)
app.add_typer(evaluation.app, name="eval")
app.command("sanity")(sanity.sanity)
app.command("params")(params.params)
app.add_typer(backbone.app, name="backbone")
app.add_typer(study.app, name="study")
app.add_typer(report.app, name="report")
app.add_typer(bench.app, name="bench")


def run() -> None:
    """Run the command line; errors that a user can mend end with one sentence and their exit code."""
    keep_freed_memory()
    try:
        app()
    except KeyboardInterrupt:
        stderr.print("Interrupted.")
        sys.exit(130)
    except Exception as error:
        code = getattr(error, "exit_code", 3 if isinstance(error, OSError) else None)
        if code is None or os.environ.get("FUSION_DEBUG"):
            traceback.print_exc()
        if code is None:
            sys.exit(1)
        stderr.print("error:", style="red", end=" ")
        stderr.print(str(error), markup=False, soft_wrap=True)
        sys.exit(code)
