"""``fusion study plan``: what a study consists of and what it will cost."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fusion_cli.study.inputs import AsJson, ResultsFolder, StudyFile, WorkFolder

if TYPE_CHECKING:
    from fusion_train.study.config import CostPlan
    from fusion_train.study.cost import Cost
    from fusion_train.study.plan import Plan


def plan(
    study: StudyFile,
    runs: Annotated[bool, typer.Option("--runs", help="Show every run below the run that it starts from.")] = False,
    work: WorkFolder = None,
    results: ResultsFolder = None,
    as_json: AsJson = False,
) -> None:
    """Say which runs a study has, which of them are done, and what they cost; nothing is computed.

    A cost is a measured time, or counted in FLOPs on the meta device and divided by a stated rate, as the study's file says. What
    the rules of the study add is not known beforehand; what they have added already is among the runs.

    Example: fusion study plan configs/studies/paper.yaml
    """
    from fusion_train.study.config import load_study
    from fusion_train.study.cost import estimate
    from fusion_train.study.runner import places, standing

    from fusion_cli.console import notify, print_json, stdout

    config = load_study(study)
    workspace, kept = places(config, work, results)
    found = standing(config, workspace, kept)
    costs = estimate(found.plan, lambda name: notify(f"▸ counting {name}"))
    done = {name for name, run in found.plan.runs.items() if kept.find(run) is not None}
    if as_json:
        print_json(_as_json(found.plan, costs, done, config.cost))
        return
    if runs:
        stdout.print(_tree(found.plan, costs, done))
    stdout.print(_phases(found.plan, costs, done))
    total, left = sum(cost.hours for cost in costs.values()), _hours(costs, set(costs) - done)
    stdout.print(f"{len(costs)} runs, {len(done)} done; {_unit(config.cost)}: {total:.1f} in all, {left:.1f} to go.")
    stdout.print(_basis(config.cost), style="dim", soft_wrap=True)


def _phases(plan: Plan, costs: dict[str, Cost], done: set[str]) -> Any:
    """Return a table of phases and experiments; a run counts where it is first needed."""
    from rich.table import Table

    rows: dict[tuple[int, str], list[str]] = defaultdict(list)
    for run in plan.runs.values():
        rows[run.phase, run.experiments[0]].append(run.name)
    table = Table(title=f"Study {plan.study.name}", title_justify="left")
    table.add_column("phase", justify="right")
    table.add_column("experiment")
    for name in ("runs", "done", "hours", "PFLOP"):
        table.add_column(name, justify="right")
    table.add_column("begins")
    for (phase, experiment), names in sorted(rows.items()):
        flops = [costs[name].flops for name in names]
        counted = sum(count for count in flops if count is not None) / 1e15
        after = plan.runs[names[0]].after
        table.add_row(
            str(phase),
            experiment,
            str(len(names)),
            str(len(done & set(names))),
            f"{_hours(costs, set(names)):.2f}",
            f"{counted:,.0f}" if None not in flops else "-",
            f"when {after}" if after else "at once",
        )
    return table


def _tree(plan: Plan, costs: dict[str, Cost], done: set[str]) -> Any:
    from rich.tree import Tree

    tree = Tree(f"{plan.study.name}: runs, each below the one whose weights it starts from")
    nodes: dict[str, Tree] = {}
    for run in plan.runs.values():
        above = nodes[run.parent] if run.parent else tree
        state = "done" if run.name in done else f"{costs[run.name].hours:.2f} h"
        used = ", ".join(run.experiments)
        measured = f"; {', '.join(run.measures)}" if run.measures else ""
        nodes[run.name] = above.add(f"{run.name}  [dim]{run.stage}, {used}{measured}; {state}[/dim]")
    return tree


def _as_json(plan: Plan, costs: dict[str, Cost], done: set[str], rule: CostPlan) -> dict[str, Any]:
    rows = [
        {
            "name": run.name,
            "phase": run.phase,
            "experiments": run.experiments,
            "stage": run.stage,
            "system": run.system,
            "dataset": run.dataset,
            "seed": run.seed,
            "variant": run.variant,
            "parent": run.parent,
            "after": run.after,
            "measures": list(run.measures),
            "identity": run.identity,
            "done": run.name in done,
            "hours": costs[run.name].hours,
            "flops": costs[run.name].flops,
        }
        for run in plan.runs.values()
    ]
    phases: dict[int, float] = defaultdict(float)
    for run in plan.runs.values():
        phases[run.phase] += costs[run.name].hours
    return {"study": plan.study.name, "unit": _unit(rule), "basis": _basis(rule), "phases": phases, "runs": rows}


def _hours(costs: dict[str, Cost], names: set[str]) -> float:
    return sum(costs[name].hours for name in names)


def _unit(rule: CostPlan) -> str:
    return "GPU-hours" if rule.kind == "flops" else "hours on the machine of the study's header"


def _basis(rule: CostPlan) -> str:
    if rule.kind == "seconds":
        return "Estimated from measured seconds a step; loading, evaluations, captions and measures are added."
    return (
        f"FLOPs of training and decoding counted on the meta device, at {rule.teraflops:g} TFLOP/s sustained on a GPU, which is "
        "assumed; encoding, retention and waiting are not counted."
    )
