"""``fusion report methods``: the methods appendix of a run, from its files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def methods(
    run: Annotated[
        Path | None,
        typer.Argument(
            help="The directory of a finished run, or the results folder of a study. Without one, the study in results/."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Write to this file instead of printing it: Markdown; of a study LaTeX where it ends in .tex."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the sections as JSON.")] = False,
) -> None:
    """Write the protocol of a run as the methods appendix of a paper states it, or draft the methods section of a study.

    Clips and denominators, sampling rate, truncation and padding, text normalisation, model, training, decoding, metrics with
    their definitions, machine and versions: all from the run card and the scores.

    Example: fusion report methods runs/audiocaps-additive-0 --out report/methods.md
    """
    from fusion_core.files import write_atomic
    from fusion_encoders.protocol import audio_protocol
    from fusion_report.methods import methods_sections, render_methods

    from fusion_cli.console import print_json, stderr, stdout

    if run is None or (run / "study_card.json").is_file():
        _draft(run, out, as_json)
        return
    sections = methods_sections(run, audio_protocol)
    if as_json:
        print_json({title: list(sentences) for title, sentences in sections.items()})
    elif out is None:
        stdout.print(render_methods(sections), markup=False, soft_wrap=True)
    else:
        write_atomic(out, render_methods(sections).encode())
        stderr.print(f"Methods: {out}", soft_wrap=True)


def _draft(results: Path | None, out: Path | None, as_json: bool) -> None:
    """Write the methods section of a study; after each sentence a comment names the file of its numbers."""
    from fusion_core.files import write_atomic
    from fusion_encoders.protocol import audio_protocol
    from fusion_report.methods_draft import TITLE, method_sections
    from fusion_report.prose import Number, prose_latex, prose_markdown

    from fusion_cli.console import notify, print_json, stdout
    from fusion_cli.reporting.options import open_results

    sections = method_sections(open_results(results), audio_protocol)
    if as_json:
        print_json(
            {
                title: ["".join(part.text if isinstance(part, Number) else part for part in one) for one in paragraphs]
                for title, paragraphs in sections.items()
            }
        )
    elif out is None:
        stdout.print(prose_markdown(TITLE, sections), markup=False, soft_wrap=True)
    else:
        render = prose_latex if out.suffix == ".tex" else prose_markdown
        write_atomic(out, render(TITLE, sections).encode())
        notify(f"Methods: {out}")
