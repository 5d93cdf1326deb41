"""What ``fusion train --dry-run`` prints: what is missing, what would train, how much memory and work it would take."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fusion_train.dry_run import DryRun

ASSUMED_FLOPS = 400e12
"""Operations a second at which the work is told in hours: 40 % of what an H100 can do in dense bf16."""


def print_dry_run(run: DryRun) -> None:
    """Print a dry run as tables."""
    from rich import box
    from rich.table import Table

    from fusion_cli.console import stdout

    assets = Table(title="What a run needs", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("", "kind", "name", "where, or how to get it"):
        assets.add_column(column, overflow="fold")
    for asset in run.assets:
        mark = "[green]ok[/green]" if asset.present else "[yellow]--[/yellow]"
        assets.add_row(mark, asset.kind, asset.name, asset.detail)
    stdout.print(assets)
    trained = Table(title="What would be trained", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    trained.add_column("part")
    for column in ("parameters", "peak rate"):
        trained.add_column(column, justify="right")
    for part, count in run.parameters.items():
        trained.add_row(part, f"{count:,}", f"{run.schedule.rates.get(part, 0):.0e}")
    trained.add_row("total", f"{sum(run.parameters.values()):,}", "")
    trained.add_row("frozen", f"{run.frozen:,}", "")
    stdout.print(trained)
    memory = Table(title="Memory, estimated", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    memory.add_column("what")
    memory.add_column("GiB", justify="right")
    for what, size in [*run.memory.items(), ("at the peak on a device", run.peak)]:
        memory.add_row(what, f"{size / 2**30:.2f}")
    for what, size in run.disk.items():
        memory.add_row(f"{what}, on disk", f"{size / 2**30:.2f}")
    stdout.print(memory)
    schedule = run.schedule
    work = run.step_flops * schedule.steps
    stdout.print(
        f"{schedule.steps:,} steps of {schedule.effective_batch} clips: {schedule.epochs:.1f} epochs of {schedule.clips:,}; "
        f"warm-up {schedule.warmup} steps; val captioned {schedule.evaluations} times at most."
    )
    stdout.print(
        f"{run.step_flops / 1e12:,.2f} TFLOP a step, {work / 1e15:,.2f} PFLOP in all: "
        f"{work / ASSUMED_FLOPS / 3600:.2f} h of one GPU at {ASSUMED_FLOPS / 1e12:.0f} TFLOP/s; captions are not counted."
    )
