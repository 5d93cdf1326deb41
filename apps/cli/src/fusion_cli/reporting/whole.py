"""``fusion report checklist`` and ``fusion report all``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusion_cli.reporting.options import (
    REPORT,
    RESAMPLES,
    JsonOption,
    OutOption,
    ResamplesOption,
    ResultsArgument,
    open_results,
)

if TYPE_CHECKING:
    from fusion_report.checklist import Checklist
    from fusion_report.study import Study

GateOption = Annotated[
    bool,
    typer.Option("--gate", help="End with exit code 5 unless every line of the plan passes; stand-ins do not count."),
]
AudioOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--audio",
        metavar="DATASET_ROOT",
        help="A prepared dataset whose sounds the page plays; may be given several times.",
    ),
]
PAGE = "index.html"
_STYLES = {"pass": "green", "fail": "red", "not measured": "yellow"}


def checklist(results: ResultsArgument = None, gate: GateOption = False, as_json: JsonOption = False) -> None:
    """Say whether the study is publishable: each line of the plan with value, threshold, source file and verdict.

    Where a study has stand-ins for AudioCaps, Clotho or the LLaVA probe, the same is asked of them in lines that say so.

    Example: fusion report checklist --gate
    """
    from fusion_report.checklist import checklist as make_checklist

    from fusion_cli.console import print_json

    found = make_checklist(open_results(results))
    if as_json:
        content = found.model_dump(mode="json", by_alias=True, exclude_none=True)
        verdicts = [line.verdict for line in found.lines]
        lines = [line | {"verdict": verdict} for line, verdict in zip(content["lines"], verdicts, strict=True)]
        print_json(content | {"lines": lines, "passes": found.passes})
    else:
        _show(found)
    _hold(found, gate)


def report_all(
    results: ResultsArgument = None,
    out: OutOption = REPORT,
    audio: AudioOption = None,
    gate: GateOption = False,
    as_json: JsonOption = False,
    resamples: ResamplesOption = RESAMPLES,
) -> None:
    """Write the whole report: tables, figures, checklist, drafts of methods and experiments, model cards, index and page.

    What has not changed is not drawn again; the same results give the same bytes.

    Example: fusion report all --audio data/scenes
    """
    from fusion_core.progress import track
    from fusion_encoders.protocol import audio_protocol
    from fusion_report.everything import build_report

    from fusion_cli.console import notify, print_json

    study = open_results(results, resamples)
    written = build_report(study, out, audio_protocol, lambda names: track(names, "figures"))
    _write_page(study, out / PAGE, audio or [])
    if written.verdicts is None:
        raise AssertionError("a report has verdicts")
    if as_json:
        content = {"written": written.drawn, "kept": len(written.kept), "removed": written.removed}
        print_json(content | {"not_drawn": written.not_drawn, "passes": written.verdicts.passes})
    else:
        _show(written.verdicts)
    for key, reason in written.not_drawn.items():
        notify(f"Not drawn: {key}: {reason}")
    notify(f"Page: {out / PAGE}")
    notify(
        f"Report: {out / 'README.md'} ({len(written.drawn)} files written, {len(written.kept)} as they were,"
        f" {len(written.removed)} removed)"
    )
    _hold(written.verdicts, gate)


def _write_page(study: Study, path: Path, dataset_roots: list[Path]) -> None:
    """Write the page of all results, with sounds where their datasets are given."""
    from fusion_core.progress import track
    from fusion_report.page import write_page

    measuring = study.measuring
    write_page(study.results.root, path, dataset_roots, track=lambda items: track(items, "clips"), measuring=measuring)


def _show(found: Checklist) -> None:
    from rich.markup import escape
    from rich.table import Table

    from fusion_cli.console import stdout

    table = Table(title=f"Are we publishable? ({escape(found.study)})", title_justify="left", show_lines=True)
    for column in ("line", "measured", "asked", "verdict", "source"):
        table.add_column(column, overflow="fold")
    for line in found.lines:
        for place, check in enumerate(line.checks):
            requirement = ("stand-in: " if line.stand_in else "") + line.requirement if place == 0 else ""
            measured = f"{check.what}: {check.measured or check.reason}"
            verdict = f"[{_STYLES[check.verdict]}]{check.verdict}[/]"
            sources = (
                check.sources[0] + (f" and {len(check.sources) - 1} more" if len(check.sources) > 1 else "")
                if check.sources
                else ""
            )
            table.add_row(escape(requirement), escape(measured), escape(check.threshold), verdict, escape(sources))
    stdout.print(table)


def _hold(found: Checklist, gate: bool) -> None:
    """End with the gate's exit code where a line of the plan does not pass.

    Raises:
        GateFailedError: some line does not pass.
    """
    from fusion_core.errors import GateFailedError

    open_lines = [line.key for line in found.lines if not line.stand_in and line.verdict != "pass"]
    if gate and open_lines:
        raise GateFailedError(f"{len(open_lines)} lines of the checklist do not pass: {', '.join(open_lines)}.")
