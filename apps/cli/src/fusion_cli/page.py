"""``fusion report html``: the page of results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def html(
    results: Annotated[
        Path, typer.Argument(help="Results of a study, a run directory, or a folder of run directories.")
    ] = Path("results/embedded"),
    out: Annotated[Path, typer.Option("--out", help="The page to write.")] = Path("report/index.html"),
    audio: Annotated[
        list[Path] | None,
        typer.Option(
            "--audio",
            metavar="DATASET_ROOT",
            help="A prepared dataset, for references, sounds and event graphs; may be given several times.",
        ),
    ] = None,
    clips: Annotated[int, typer.Option("--clips", min=1, help="List at most so many clips, evenly spaced.")] = 1000,
    media_mb: Annotated[
        float, typer.Option("--media-mb", min=0, help="Embed at most so many MB of sounds, videos and pictures.")
    ] = 16,
    text_mb: Annotated[
        float, typer.Option("--text-mb", min=0, help="Hold at most so many MB of captions, before compression.")
    ] = 24,
    link: Annotated[
        bool, typer.Option("--link/--no-link", help="Link sounds that are not embedded to their files.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written and left out as JSON.")] = False,
) -> None:
    """Write one page with everything: tables, interactive charts and a clip browser that plays what each system captions.

    The page needs no network and no server. What does not fit into its bounds is left out, and the page says so.

    Example: fusion report html results/embedded --audio data/scenes --out report/index.html
    """
    import dataclasses

    from fusion_core.progress import track
    from fusion_report.page import Limits, write_page
    from fusion_report.page.weight import MEGABYTE

    from fusion_cli.console import notify, print_json, stdout

    limits = Limits(clips, int(media_mb * MEGABYTE), int(text_mb * MEGABYTE))
    summary = write_page(results, out, audio or [], limits, link, lambda items: track(items, "clips"))
    if as_json:
        print_json(dataclasses.asdict(summary))
        return
    for sentence in summary.left_out:
        notify(f"Left out: {sentence}")
    heard = f"{summary.audible:,} of {summary.clips:,} clips can be heard"
    stdout.print(f"Page: {summary.path} ({summary.bytes / MEGABYTE:.1f} MB, {heard})", markup=False, soft_wrap=True)
