"""``fusion train``: data, features, training, captions under every condition, scores, figure and run card."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fusion_cli.console import print_json, stderr, stdout
from fusion_cli.modalities import print_modalities

if TYPE_CHECKING:
    from fusion_train.config import RunSettings


def train(
    dataset: Annotated[str, typer.Argument(help="The dataset, such as scenes; prepared if it is not yet.")],
    system: Annotated[str, typer.Option("--system", help="The fusion system, such as additive.")] = "additive",
    profile: Annotated[
        str, typer.Option("--profile", help="Settings: default, embedded, tiny, paper-7b, paper-13b, or a YAML file.")
    ] = "default",
    seed: Annotated[
        int | None, typer.Option("--seed", help="Seed of weights and order; the profile's if not given.")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting, such as schedule.steps=300 or system.sites=[8,18]; repeatable."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The run directory; runs/DATASET-SYSTEM-TIME if not given.")
    ] = None,
    root: Annotated[Path | None, typer.Option("--root", help="Where the dataset is or will be prepared.")] = None,
    bank: Annotated[
        Path | None, typer.Option("--bank", help="scenes: a folder of labelled recordings with manifest.csv.")
    ] = None,
    scst: Annotated[
        bool,
        typer.Option("--scst", help="Go on with self-critical training from the best weights; its run is RUN/scst."),
    ] = False,
    modalities: Annotated[
        str | None,
        typer.Option(
            "--modalities", help="Modalities that are bound together, such as video,audio; the profile's if not given."
        ),
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option("--init", help="Begin with the modalities of this finished run, such as an audio run."),
    ] = None,
    frozen: Annotated[
        list[str] | None, typer.Option("--freeze", help="A modality of --init that stays as it is; repeatable.")
    ] = None,
    keep: Annotated[int | None, typer.Option("--keep", help="Checkpoints that stay, the newest.", min=1)] = None,
    processes: Annotated[
        int, typer.Option("--processes", help="Processes that share each step: one a GPU, or on CPUs.", min=1)
    ] = 1,
    track: Annotated[
        list[str] | None, typer.Option("--track", help="Show the run in tensorboard, wandb or trackio too; repeatable.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out, or with the newest unfinished one.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the settings, count parameters and steps, and stop.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Train a system and score what it learned, from nothing to a table.

    Every stage starts from what is already there: the prepared dataset, cached features, the converted backbone, and with
    --resume the last checkpoint. Stop it with Ctrl-C: the state is saved.

    Examples:

        fusion train scenes --system additive

        fusion train scenes --system additive --bank RECORDINGS --profile embedded --seed 1

        fusion train scenes --system additive --set schedule.steps=300 --dry-run

        fusion train scenes --system additive --scst --set contrastive.weight=0.1

        fusion train scenes --system additive --processes 2

        fusion train av-scenes --system additive --modalities video,audio --init runs/RUN --freeze audio

    On a cluster, torchrun … -m fusion_cli train … --out RUN does the same as --processes; a step has batch × accumulate clips.
    """
    from fusion_train.config import choose_modalities, load_settings
    from fusion_train.experiment import Experiment, Request, latest_unfinished, new_run_folder
    from fusion_train.modal_experiment import ModalExperiment

    overrides = list(changes or [])
    if bank is not None:
        overrides.append(f"dataset.bank={bank.resolve()}")
    overrides += ["scst.start=always"] if scst else []
    overrides += [f"checkpoints_kept={keep}"] if keep is not None else []
    overrides += [f"init={init.resolve()}"] if init is not None else []
    names = None if modalities is None else [name.strip() for name in modalities.split(",") if name.strip()]
    settings = choose_modalities(load_settings(profile, overrides, seed, system, dataset), names, frozen or [])
    if dry_run:
        _dry_run(dataset, system, settings, root, as_json)
        return
    if out is None:
        out = latest_unfinished(dataset, system) if resume else new_run_folder(dataset, system)
    if processes > 1:
        from fusion_cli.processes import run_in_processes

        raise typer.Exit(run_in_processes(processes, out))
    request = Request(dataset, system, settings, out, root, resume, ("fusion", *sys.argv[1:]), tuple(track or ()))
    kind = ModalExperiment if settings.modalities else Experiment
    experiment = kind(request, lambda sentence: stderr.print(f"[dim]▸[/dim] {sentence}", highlight=False))
    phases = experiment.run()
    if not experiment.writes:
        return
    if settings.modalities:
        print_modalities(out, as_json)
        return
    for phase in phases:
        _print_results(
            out if phase == "xe" else out / phase, as_json, "self-critical training" if phase == "scst" else None
        )


def _dry_run(dataset: str, system: str, settings: RunSettings, root: Path | None, as_json: bool) -> None:
    """Say what a run would need and do."""
    from fusion_train.dry_run import dry_run

    from fusion_cli.dry_run import print_dry_run

    found = dry_run(dataset, system, settings, root)
    if as_json:
        print_json(found.as_dict())
    else:
        print_dry_run(found)


def _print_results(folder: Path, as_json: bool, phase: str | None = None) -> None:
    """Draw the figure and print the table of a finished run."""
    from fusion_report.controls import control_rows, draw_controls

    rows = control_rows(folder)
    figure = draw_controls(rows, folder / "controls")
    if as_json:
        print_json({"run": str(folder), "rows": [vars(row) for row in rows]})
        return
    stdout.print(_results_table(rows, f"Test captions after {phase}" if phase else "Test captions"))
    stdout.print("Intervals: 95% bootstrap over the clips.", style="dim")
    for sentence in _denominators(folder):
        stdout.print(sentence)
    for what, place in (
        ("captions", folder / "predictions"),
        ("scores", folder / "scores"),
        ("adapter", folder / "adapter"),
        ("run card", folder / "run_card.json"),
        ("log", folder / "log.jsonl"),
        ("figure", figure),
    ):
        stdout.print(f"{what:9} {place}", soft_wrap=True)
    stdout.print(f"Caption your own files: fusion caption FILE… --ckpt {folder}", soft_wrap=True)


def _denominators(folder: Path) -> list[str]:
    """Return over which clips each split counts, as the run found its dataset; nothing for a dataset that has no lists."""
    from fusion_core.journal import Journal

    logs = (Journal(place / "log.jsonl").read() for place in (folder.parent, folder))
    events = [event for log in logs for event in log if event["event"] == "prepared"]
    return list(events[-1].get("denominators", ())) if events else []


def _results_table(rows: list[Any], title: str) -> Any:
    from rich import box
    from rich.table import Table

    columns = list(dict.fromkeys((row.metric_label, row.subset) for row in rows))
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("condition", no_wrap=True)
    for metric, subset in columns:
        table.add_column(f"{metric}\n{subset}", justify="right", no_wrap=True)
    for condition in dict.fromkeys(row.condition_label for row in rows):
        cells = []
        for column in columns:
            found = [r for r in rows if r.condition_label == condition and (r.metric_label, r.subset) == column]
            cells.append(
                f"{found[0].value:.3f}\n[dim]{_short(found[0].low)}-{_short(found[0].high)}[/dim]" if found else "-"
            )
        table.add_row(condition, *cells)
    return table


def _short(value: float) -> str:
    """Write 0.41 as .41, so that the table fits a terminal of 80 columns."""
    return f"{value:.2f}".removeprefix("0")
