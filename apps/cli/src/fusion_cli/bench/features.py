"""``fusion bench features``: an epoch's features from the cache, beside encoding the clips again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def features(
    root: Annotated[Path, typer.Option("--root", help="A prepared dataset.")],
    encoder: Annotated[str, typer.Option("--encoder", help="The frozen encoder.")] = "aisfx",
    clips: Annotated[int, typer.Option(help="The first clips of train that are timed.", min=1)] = 64,
    repeats: Annotated[int, typer.Option(help="Readings of each batch; the median counts.", min=1)] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print seconds and ratio as JSON.")] = False,
) -> None:
    """Time the features of an epoch with the cache (read) and without it (decode and encode), on the same clips in turn.

    Clips that the cache does not hold are put into it first. Encoding is timed in one process; reading finds the files in
    memory where the system keeps them there, as in training.

    Example: fusion bench features --root data/scenes
    """
    from fusion_encoders.registry import load_encoder
    from fusion_train.datasets.base import open_dataset
    from fusion_train.feature_speed import measure_features

    from fusion_cli.console import print_json, stdout

    speed = measure_features(open_dataset(root), load_encoder(encoder), clips, repeats=repeats)
    if as_json:
        print_json({"encoder": encoder, **vars(speed), "ratio": speed.ratio})
        return
    from rich.table import Table

    title = f"{encoder}: {speed.clips} clips, {speed.audio_seconds:.0f} s of audio"
    table = Table(title=title, title_justify="left")
    for column in ("features of an epoch", "seconds", "a clip"):
        table.add_column(column, justify="left" if column.startswith("f") else "right")
    for name, seconds in (("encoded", speed.encode), ("read from the cache", speed.read)):
        table.add_row(name, f"{seconds:.3f}", f"{seconds / speed.clips * 1000:.2f} ms")
    stdout.print(table)
    stdout.print(f"With the cache an epoch's features take a {speed.ratio:,.0f}th of the time.")
