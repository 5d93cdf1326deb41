"""``fusion bench decoding``: captions a second by beam search, beside transformers' own generate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fusion_train.decoding_speed import DecodingSpeed

SPEED_BAR = 1.0
TIE = {"bfloat16": 0.05, "float32": 1e-4}  # of a score; closer captions are a tie that rounding decides


def decoding(
    profile: Annotated[str, typer.Option(help="Profile whose backbone and decoding settings are timed.")] = "default",
    beams: Annotated[int, typer.Option(help="Beams of a clip.", min=1)] = 5,
    clips: Annotated[int, typer.Option(help="Prompts, at most 16 different ones.", min=1)] = 16,
    repeats: Annotated[int, typer.Option(help="Turns of each side.", min=1)] = 5,
    setting: Annotated[list[str] | None, typer.Option("--set", help="Change a setting: key=value.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print seconds, ratio and differences as JSON.")] = False,
) -> None:
    """Time beam search against `generate` of transformers on the same model, prompts and settings, and compare the captions.

    No audio is bound, so that both can answer. The sides take turns in one process; medians count. Captions that differ are
    scored again by the model in one pass: a gap below what the arithmetic can tell is a tie.

    Example: fusion bench decoding --repeats 3
    """
    from fusion_train.config import load_settings
    from fusion_train.decoding_speed import INSTRUCTIONS, measure_decoding
    from fusion_train.model import build_backbone

    from fusion_cli.console import print_json

    settings = load_settings(profile, setting)
    backbone = build_backbone(settings)
    instructions = [INSTRUCTIONS[number % len(INSTRUCTIONS)] for number in range(clips)]
    speed = measure_decoding(backbone, instructions, settings.decoding.model_copy(update={"beams": beams}), repeats)
    precision = str(backbone.dtype).removeprefix("torch.")
    about = {"backbone": backbone.identity.name, "precision": precision, "beams": beams, "repeats": repeats}
    found = about | _result(speed, precision)
    if as_json:
        print_json(found)
    else:
        _show(found)


def _result(speed: DecodingSpeed, precision: str) -> dict[str, Any]:
    sides = [
        {"side": name, "seconds": seconds, "captions_per_second": speed.captions / seconds}
        for name, seconds in speed.seconds.items()
    ]
    differences = [
        {**vars(one), "gap": one.gap, "verdict": _verdict(one.gap, TIE.get(precision, TIE["float32"]))}
        for one in speed.differences
    ]
    return {
        "captions": speed.captions,
        "sides": sides,
        "ratio": speed.ratio,
        "bar": SPEED_BAR,
        "kept": speed.ratio >= SPEED_BAR,
        "differences": differences,
    }


def _verdict(gap: float, tie: float) -> str:
    if abs(gap) <= tie:
        return "a tie"
    return "ours is likelier" if gap > 0 else "theirs is likelier"


def _show(found: dict[str, Any]) -> None:
    from rich.table import Table

    from fusion_cli.console import stdout

    title = f"{found['backbone']} in {found['precision']}: {found['captions']} captions, {found['beams']} beams"
    table = Table(title=title, title_justify="left")
    table.add_column("side")
    for column in ("seconds", "captions/s"):
        table.add_column(column, justify="right")
    for side in found["sides"]:
        table.add_row(side["side"], f"{side['seconds']:.2f}", f"{side['captions_per_second']:.2f}")
    stdout.print(table)
    verdict = "kept" if found["kept"] else "NOT KEPT"
    stdout.print(f"Ours over theirs: {found['ratio']:.2f}, bar {found['bar']:g}, {verdict}.")
    if not found["differences"]:
        stdout.print("Every caption is the same.")
        return
    table = Table(title=f"{len(found['differences'])} captions differ", title_justify="left")
    for column in ("caption", "score"):
        table.add_column(column, overflow="fold")
    for one in found["differences"]:
        for name, caption in one["captions"].items():
            table.add_row(f"{name}: {caption}", f"{one['scores'][name]:.4f}")
        table.add_row(f"[dim]{one['instruction']} {one['verdict']}[/dim]", f"{one['gap']:+.4f}", end_section=True)
    stdout.print(table)
