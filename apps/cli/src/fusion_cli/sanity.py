"""``fusion sanity``: phase 0, the checks that must pass before anything is trained in earnest."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fusion_cli.console import print_json, stderr, stdout

if TYPE_CHECKING:
    from fusion_train.sanity import Check


def sanity(
    system: Annotated[str, typer.Option("--system", help="The fusion system, such as additive.")] = "additive",
    profile: Annotated[
        str, typer.Option("--profile", help="Settings: default, embedded, tiny, or a YAML file of your own.")
    ] = "default",
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of weights and order.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Change a setting, such as system.sites=[8,18]; repeatable.")
    ] = None,
    clips: Annotated[int | None, typer.Option(help="Training clips that are learned by heart.", min=2)] = None,
    steps: Annotated[int | None, typer.Option(help="Steps in which they must be learned.", min=1)] = None,
    loss: Annotated[float | None, typer.Option(help="The loss must fall below this, in nats a token.")] = None,
    cider_d: Annotated[float | None, typer.Option("--cider-d", help="CIDEr-D must rise above this.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Check that a system leaves the backbone alone and can learn: exit code 5 where a check fails.

    Without audio, and with every gate at 0, the backbone answers as it did, bit for bit; a few clips are learned by heart in a
    few steps; every gate receives a gradient; the frozen weights keep their hash. The clips are scenes, composed once and kept.

    Examples:

        fusion sanity --profile tiny

        fusion sanity --system cross-attention --steps 60
    """
    import dataclasses

    from fusion_core.errors import GateFailedError
    from fusion_train.config import load_settings
    from fusion_train.sanity import check_sanity, failed, plan_for

    begin = time.perf_counter()
    settings = load_settings(profile, changes, seed, system)
    wanted: dict[str, Any] = {"clips": clips, "steps": steps, "loss": loss, "cider_d": cider_d}
    plan = dataclasses.replace(
        plan_for(settings), **{name: value for name, value in wanted.items() if value is not None}
    )
    checks = check_sanity(system, settings, plan, lambda words: stderr.print(f"[dim]▸[/dim] {words}", highlight=False))
    seconds = round(time.perf_counter() - begin, 1)
    if as_json:
        about = {"system": system, "profile": profile, "plan": dataclasses.asdict(plan), "seconds": seconds}
        print_json({**about, "passed": not failed(checks), "checks": [vars(check) for check in checks]})
    else:
        _show(f"{system}, profile {profile}, {seconds:g} s", checks)
    if failed(checks):
        names = "; ".join(check.name for check in failed(checks))
        raise GateFailedError(f"{len(failed(checks))} of {len(checks)} checks failed ({names}); mend the system first.")


def _show(title: str, checks: list[Check]) -> None:
    from rich.table import Table

    table = Table(title=f"Sanity of {title}", title_justify="left")
    for column in ("check", "measured", "bound", "verdict"):
        table.add_column(column, overflow="fold")
    for check in checks:
        verdict = "[green]passed[/green]" if check.passed else "[red]FAILED[/red]"
        table.add_row(check.name, check.measured, check.bound, verdict)
    stdout.print(table)
