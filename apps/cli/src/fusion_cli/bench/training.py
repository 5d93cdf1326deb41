"""``fusion bench training``: a training step and a decoded token of every system beside the bare backbone's own."""

from __future__ import annotations

from typing import Annotated, Any

import typer

STEP_BAR = 1.10
TOKEN_BAR = 1.02
PREFIX_BAR = 1.3
AISFX_WIDTH = 512


def training(
    profile: Annotated[str, typer.Option(help="Profile whose backbone, sites and sizes are timed.")] = "default",
    system: Annotated[list[str] | None, typer.Option(help="Only this system; repeatable. By default all.")] = None,
    repeats: Annotated[int, typer.Option(help="Steps of each side; twenty times as many tokens.", min=2)] = 10,
    clips: Annotated[int, typer.Option(help="Clips of a step.", min=1)] = 16,
    setting: Annotated[list[str] | None, typer.Option("--set", help="Change a setting: key=value.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print seconds and ratios as JSON.")] = False,
) -> None:
    """Time a training step and a decoded token of every system, as ratios to the work that the backbone cannot avoid.

    That work is the forward pass with its loss and the gradients of the activations from the lowest site up; of decoding, the
    backbone's own token. Memory is what a step needs at its peak beyond what is held before. Systems that can have the frozen
    prefix are timed with it, with no more than the unheard part of the prompt kept, and with nothing kept. The sides take turns,
    step by step, in one process; medians count.

    Example: fusion bench training --system additive --system cross-attention
    """
    import tempfile
    from pathlib import Path

    from fusion_core.systems import SYSTEMS
    from fusion_train.config import load_settings
    from fusion_train.model import build_backbone
    from fusion_train.step_cost import BARE, StepShape, measure_steps

    from fusion_cli.console import print_json

    settings = load_settings(profile, setting)
    backbone = build_backbone(settings)
    systems = {name: load_settings(profile, setting, system=name) for name in system or SYSTEMS.names()}
    with tempfile.TemporaryDirectory() as folder:
        costs = measure_steps(
            backbone, systems, settings, AISFX_WIDTH, StepShape(clips=clips), repeats, prefix_root=Path(folder)
        )
    bare = costs[BARE]
    rows = [
        {
            "side": name,
            "step_seconds": cost.step,
            "step_ratio": cost.step / bare.step,
            "token_seconds": cost.token,
            "token_ratio": cost.token / bare.token,
            "clips_per_second": clips / cost.step,
            "step_memory": cost.memory,
            "memory_ratio": cost.memory / bare.memory if cost.memory and bare.memory else None,
        }
        for name, cost in costs.items()
    ]
    found = {"backbone": backbone.identity.name, "clips": clips, "repeats": repeats, "sides": rows, "bars": _bars(rows)}
    if as_json:
        print_json(found)
    else:
        _show(found)


def _bars(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what is promised of the additive system, and whether it was kept."""
    by_side = {row["side"]: row for row in rows}
    additive = by_side.get("additive")
    if additive is None:
        return []
    bars = [("step over the backbone's", additive["step_ratio"], STEP_BAR, additive["step_ratio"] <= STEP_BAR)]
    bars.append(("token over the backbone's", additive["token_ratio"], TOKEN_BAR, additive["token_ratio"] <= TOKEN_BAR))
    if "additive, frozen prefix" in by_side:
        cached, unkept = by_side["additive, frozen prefix"], by_side["additive, nothing kept"]
        gain = unkept["step_seconds"] / cached["step_seconds"]
        bars.append(("step with nothing kept over one with the frozen prefix", gain, PREFIX_BAR, gain >= PREFIX_BAR))
    return [dict(zip(("what", "ratio", "bar", "kept"), bar, strict=True)) for bar in bars]


def _show(found: dict[str, Any]) -> None:
    from rich.table import Table

    from fusion_cli.console import stdout

    title = f"{found['backbone']}: {found['clips']} clips a step, medians of {found['repeats']}"
    table = Table(title=title, title_justify="left")
    table.add_column("side")
    for column in ("step", "ratio", "clips/s", "memory", "ratio", "token", "ratio"):
        table.add_column(column, justify="right")
    for row in found["sides"]:
        step = (f"{row['step_seconds']:.3f} s", f"{row['step_ratio']:.3f}", f"{row['clips_per_second']:.1f}")
        memory = ("", "")
        if row["memory_ratio"] is not None:
            memory = (f"{row['step_memory'] / 2**20:.0f} MiB", f"{row['memory_ratio']:.2f}")
        table.add_row(row["side"], *step, *memory, f"{row['token_seconds'] * 1000:.1f} ms", f"{row['token_ratio']:.3f}")
    stdout.print(table)
    for bar in found["bars"]:
        verdict = "kept" if bar["kept"] else "NOT KEPT"
        stdout.print(f"Additive's {bar['what']}: {bar['ratio']:.3f}, bar {bar['bar']:g}, {verdict}.")
