"""docs/gpu.md: every command in it is run, those that train by --dry-run, the others as far as their arguments are read."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from fusion_cli.main import app
from typer.testing import CliRunner

PROGRAMS = ("uv", "pip", "hf", "sbatch")
STUB = """#!{python}
import json, os, sys
with open(os.environ["COMMANDS"], "a") as log:
    log.write(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + "\\n")
print(4711)
"""


def blocks(repository: Path) -> list[str]:
    return re.findall(
        r"```bash\n(.*?)```", (repository / "docs" / "gpu.md").read_text(encoding="utf-8"), flags=re.DOTALL
    )


@pytest.fixture(scope="module")
def commands(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """Let bash run the page with programs that only write down how they are called; return the calls, `uv run` left out."""
    folder = tmp_path_factory.mktemp("page")
    for name in PROGRAMS:
        program = folder / name
        program.write_text(STUB.format(python=sys.executable))
        program.chmod(0o755)
    log = folder / "commands.jsonl"
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "COMMANDS": str(log)}
    slurm = {"SLURM_ARRAY_TASK_ID": "4", "SLURM_ARRAY_TASK_COUNT": "8"}
    for block in blocks(repository):
        subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block], env=environment | slurm, check=True, capture_output=True
        )
    called = [json.loads(line) for line in log.read_text().splitlines()]
    return [call[2:] if call[:2] == ["uv", "run"] else call for call in called]


def fusion_calls(commands: list[list[str]]) -> Iterator[list[str]]:
    for call in commands:
        if call[0] == "fusion":
            yield call[1:]
        elif call[0] == "accelerate":
            yield call[call.index("fusion_cli") + 1 :]


def command_without_actions() -> Any:
    """Return the command line of which only the arguments are read."""
    command = typer.main.get_command(app)

    def silence(one: Any) -> None:
        for inner in getattr(one, "commands", {}).values():
            silence(inner)
        if not getattr(one, "commands", None):
            one.callback = lambda **_: None

    silence(command)
    return command


def test_the_page_goes_from_the_install_to_the_table(commands: list[list[str]]) -> None:
    called = {shlex.join(call[:3]) for call in commands}
    for step in ("fusion doctor audiocaps", "fusion data prepare", "fusion encode audiocaps", "fusion train audiocaps"):
        assert step in called
    assert {
        "fusion report ablation",
        "fusion eval compare",
        "fusion report methods",
        "hf download laion/clap-htsat-unfused",
    } <= called
    trained = {
        (call[call.index("--system") + 1], call[call.index("--seed") + 1]) for call in commands if "--seed" in call
    }
    assert len(trained) == 15
    assert ["--rank", "4", "--world", "8"] in [call[-4:] for call in commands]
    assert any(call[:2] == ["sbatch", "--dependency=afterok:4711"] for call in commands)


def test_every_command_of_the_page_reads_its_arguments(commands: list[list[str]]) -> None:
    command = command_without_actions()
    for arguments in fusion_calls(commands):
        command.main(arguments, prog_name="fusion", standalone_mode=False)  # raises where an argument is wrong
    with pytest.raises(Exception, match="No such option"):
        command.main(["train", "audiocaps", "--sytem", "additive"], prog_name="fusion", standalone_mode=False)


def test_the_accelerate_command_of_the_page_is_accepted(
    commands: list[list[str]], repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    monkeypatch.chdir(repository)
    (call,) = [call for call in commands if call[0] == "accelerate"]
    arguments, *_ = _validate_launch_command(launch_command_parser().parse_args(call[2:]))
    assert arguments.multi_gpu
    assert arguments.num_processes == 8
    assert arguments.module


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["paper-7b", "paper-13b"])
def test_the_training_commands_of_the_page_pass_a_dry_run(
    commands: list[list[str]], profile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FUSION_CLAP", raising=False)
    runs = {tuple(call) for call in fusion_calls(commands) if call[0] == "train" and "--processes" not in call}
    wanted = {call[1]: call for call in sorted(runs) if "additive" in call}
    for call in wanted.values() if profile == "paper-7b" else [wanted["audiocaps"]]:
        arguments = [profile if part == "paper-7b" else part for part in call if part != "--dry-run"]
        result = CliRunner().invoke(app, [*arguments, "--dry-run", "--json"])
        assert result.exit_code == 0, (shlex.join(arguments), result.output)
        found = json.loads(result.stdout)
        assert {asset["kind"] for asset in found["assets"]} >= {"data", "backbone", "encoder"}
        assert found["peak"] < 80 * 2**30
    assert not list(tmp_path.iterdir())
