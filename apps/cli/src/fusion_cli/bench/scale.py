"""``fusion bench scale``: what a dataset of tens of thousands of clips costs before anything is trained."""

from __future__ import annotations

from typing import Annotated

import typer


def scale(
    clips: Annotated[
        list[int] | None, typer.Option("--clips", help="Sizes to measure; repeatable, 5,000 and 50,000 if not given.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print seconds and bytes as JSON.")] = False,
) -> None:
    """Measure seconds and memory of preparing a dataset, of opening its manifest and features, and of an epoch's features.

    The clips are one short sound under many names with frames of 20 kB each, in the folder for temporary files (TMPDIR).

    Example: fusion bench scale --clips 5000 --clips 50000
    """
    import tempfile
    from dataclasses import asdict
    from pathlib import Path

    from fusion_train.feature_scale import measure_scale

    from fusion_cli.console import print_json, stdout

    costs = []
    for count in clips or [5_000, 50_000]:
        with tempfile.TemporaryDirectory(prefix="fusion-scale-") as folder:
            costs.append(measure_scale(Path(folder), count))
    if as_json:
        print_json([asdict(cost) for cost in costs])
        return
    from rich.table import Table

    table = Table(title="Processor seconds and peak memory by number of clips", title_justify="left")
    table.add_column("stage")
    for cost in costs:
        table.add_column(f"{cost.clips:,} clips", justify="right")
    for stage in ("prepare", "manifest", "features", "epoch"):
        found = [getattr(cost, stage) for cost in costs]
        memory = [f"{one.memory / 2**20:.0f} MiB" if one.memory is not None else "unknown" for one in found]
        table.add_row(stage, *(f"{one.processor:.2f} s, {size}" for one, size in zip(found, memory, strict=True)))
    table.add_row("frames on the disk", *(f"{cost.frame_bytes / 2**20:.0f} MiB" for cost in costs))
    stdout.print(table)
