"""``fusion study run``: carry out what is missing of a study."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fusion_cli.study.inputs import AsJson, ResultsFolder, StudyFile, WorkFolder

if TYPE_CHECKING:
    from fusion_eval.schemas.study import StudyCard
    from fusion_train.study.config import Study
    from fusion_train.study.executors.base import Executor


def run(
    study: StudyFile,
    executor: Annotated[
        Literal["local", "in-process", "slurm"],
        typer.Option(help="local: worker processes; in-process: this one; slurm: jobs through submitit."),
    ] = "local",
    workers: Annotated[
        int | None, typer.Option(min=1, help="local: processes; as many as cores or GPUs allow if not given.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="Only the chain with this run; repeatable.")] = None,
    partition: Annotated[str | None, typer.Option(help="slurm: the partition.")] = None,
    account: Annotated[str | None, typer.Option(help="slurm: the account.")] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="slurm: GPUs a job.")] = None,
    minutes: Annotated[int | None, typer.Option(min=1, help="slurm: time limit of a job.")] = None,
    work: WorkFolder = None,
    results: ResultsFolder = None,
    as_json: AsJson = False,
) -> None:
    """Carry out what is missing: train, measure, keep the small results, apply the rules, and go on until nothing is missing.

    What is done is known by the hash of its settings and inputs and is not done again, also in a fresh clone without weights.
    A run that fails stops no other and is named with its log. Stop it with Ctrl-C or kill it, and run it again to go on.

    Examples:

        fusion study run configs/studies/tiny.yaml

        fusion study run configs/studies/paper.yaml --executor slurm --partition gpu --account lab --gpus 1
    """
    from fusion_train.study.config import load_study
    from fusion_train.study.runner import places, run_study

    from fusion_cli.console import notify

    config = load_study(study)
    asked = {"partition": partition, "account": account, "gpus": gpus, "minutes": minutes}
    config = _with_slurm(config, {name: value for name, value in asked.items() if value is not None})
    begun = time.monotonic()

    def tell(name: str, state: str) -> None:
        clock = time.strftime("%H:%M:%S")
        notify(f"▸ {name}" if state == "stage" else f"{clock} {state:8} {name}")

    workspace, kept = places(config, work, results)
    card = run_study(config, workspace, kept, _executor(executor, workers), tell, tuple(only or ()))
    _show(card, kept.root, time.monotonic() - begun, as_json)


def _with_slurm(study: Study, asked: dict[str, object]) -> Study:
    """Return the study with what the command line asks of Slurm."""
    return study.model_copy(update={"slurm": study.slurm.model_copy(update=asked)}) if asked else study


def _executor(name: str, workers: int | None) -> Executor:
    """Return the executor; only its own libraries are loaded."""
    if name == "slurm":
        from fusion_train.study.executors.slurm import SlurmJobs

        return SlurmJobs()
    if name == "in-process":
        from fusion_train.study.executors.in_process import InProcess

        return InProcess()
    from fusion_train.study.executors.pool import LocalPool

    return LocalPool(workers)


def _show(card: StudyCard, results: Path, seconds: float, as_json: bool) -> None:
    """Print what there is and what is not, with the reason and the log of what failed."""
    from fusion_cli.console import print_json, stdout

    states = {state: [run for run in card.runs if run.status == state] for state in ("done", "failed", "missing")}
    if as_json:
        counts = {state: len(runs) for state, runs in states.items()}
        print_json(
            {"results": str(results), "seconds": round(seconds, 1), **counts, "card": card.model_dump(mode="json")}
        )
    else:
        for state in ("failed", "missing"):
            for run in states[state]:
                log = f" ({run.log})" if run.log else ""
                stdout.print(f"{state}: {run.name}: {run.reason}{log}", markup=False, soft_wrap=True)
        for run in card.runs:
            for name, measure in run.measures.items():
                if measure.status != "done" and run.status == "done":
                    stdout.print(
                        f"{measure.status}: {name} of {run.name}: {measure.reason}", markup=False, soft_wrap=True
                    )
        for decision in card.decisions:
            stdout.print(f"{decision.rule}: {decision.outcome}", markup=False, soft_wrap=True)
        counts_text = ", ".join(f"{len(runs)} {state}" for state, runs in states.items())
        stdout.print(f"{len(card.runs)} runs: {counts_text}; {seconds:.0f} s. Results: {results}", soft_wrap=True)
    if states["failed"]:
        raise typer.Exit(1)
