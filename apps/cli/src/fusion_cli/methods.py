"""``fusion report methods``: the methods appendix of a run, from its files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def methods(
    run: Annotated[Path, typer.Argument(help="The directory of a finished run.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the Markdown to this file instead of printing it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the sections as JSON.")] = False,
) -> None:
    """Write the protocol of a run as the methods appendix of a paper states it.

    Clips and denominators, sampling rate, truncation and padding, text normalisation, model, training, decoding, metrics with
    their definitions, machine and versions: all from the run card and the scores.

    Example: fusion report methods runs/audiocaps-additive-0 --out report/methods.md
    """
    from fusion_core.files import write_atomic
    from fusion_encoders.protocol import audio_protocol
    from fusion_report.methods import methods_sections, render_methods

    from fusion_cli.console import print_json, stderr, stdout

    sections = methods_sections(run, audio_protocol)
    if as_json:
        print_json({title: list(sentences) for title, sentences in sections.items()})
    elif out is None:
        stdout.print(render_methods(sections), markup=False, soft_wrap=True)
    else:
        write_atomic(out, render_methods(sections).encode())
        stderr.print(f"Methods: {out}", soft_wrap=True)
