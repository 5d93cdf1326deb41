"""docs/gpu.md: every command in it is run.

Those that train run as they stand by --dry-run. Then the page is walked from the data to the table on a few clips: each command
with the tiny profile for the paper's, a CLAP of the real class with random weights, and metrics that need no Java. Programs that
are not ours (uv, hf, accelerate) read their arguments, by their own parsers.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
from fusion_cli.main import app
from fusion_eval.schemas import Predictions
from typer.testing import CliRunner

PROGRAMS = ("uv", "pip", "hf", "sbatch")
STUB = """#!/bin/sh
for part in "${0##*/}" "$@"; do printf '%s\\037' "$part"; done >> "$COMMANDS"
printf '\\036' >> "$COMMANDS"
echo 4711
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
        program.write_text(STUB)
        program.chmod(0o755)
    log = folder / "commands"
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "COMMANDS": str(log)}
    slurm = {"SLURM_ARRAY_TASK_ID": "4", "SLURM_ARRAY_TASK_COUNT": "8"}
    for block in blocks(repository):
        subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block], env=environment | slurm, check=True, capture_output=True
        )
    called = [line.split("\x1f")[:-1] for line in log.read_text().split("\x1e")[:-1]]
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


def test_what_other_programs_are_asked_for_is_accepted_by_them(commands: list[list[str]], repository: Path) -> None:
    from huggingface_hub.cli.hf import app as hf

    others = {tuple(call) for call in commands if call[0] not in ("fusion", "accelerate", "sbatch")}
    for call in sorted(others):
        if call[0] == "hf":
            name, group, arguments = hf.resolve_command(typer.Context(hf), list(call[1:]))
            assert group.make_context(name, arguments).params["repo_id"].count("/") == 1
    assert {call for call in others if call[0] != "hf"} == {("pip", "install", "uv"), ("uv", "sync", "--locked")}
    if (uv := shutil.which("uv")) is not None:
        locked = [uv, "lock", "--check", "--offline"]
        subprocess.run(locked, cwd=repository, check=True, capture_output=True, stdin=subprocess.DEVNULL)


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


TINY = {
    "paper-7b": "tiny",
    "llava-1.5-7b": "tiny-random",
    "common-957": "listed.txt",
    "spider": "cider_d",
    "all": "cider_d",
    "audiocaps/dataset": "csv",
    "audiocaps/audio": "audio",
}
"""What stands for the page's words where a few clips, tiny models and no Java are at hand."""
TRAINED = {f"runs/audiocaps-{name}" for name in ("additive-0", "additive-1", "concat-0", "cross-attention-0")}
LISTED = ("test0000000", "test0000003", "test0000006")


@pytest.fixture(scope="module")
def walked(
    commands: list[list[str]],
    fusion_here: Callable[..., Any],
    write_audiocaps: Callable[[Path, Path], None],
    write_clotho: Callable[[Path, Path], None],
    write_tiny_clap: Callable[[Path], None],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, dict[tuple[str, ...], Any]]:
    """Walk the page; return the folder and what each command ended with, by its arguments as the page has them."""
    place = tmp_path_factory.mktemp("node")
    write_audiocaps(place / "csv", place / "audio")
    write_clotho(place / "clotho" / "csv", place / "clotho" / "audio")
    write_tiny_clap(place / "clap")
    (place / "listed.txt").write_text("\n".join(LISTED))
    found: dict[tuple[str, ...], Any] = {}
    for call in map(tuple, fusion_calls(commands)):
        if call not in found and (arguments := in_small(call, found)) is not None:
            found[call] = fusion_here(place, *arguments, FUSION_CLAP=str(place / "clap"))
    return place, found


def in_small(call: tuple[str, ...], done: Mapping[tuple[str, ...], Any]) -> list[str] | None:
    """Return the arguments of a command for a few clips; None for one of the runs that differ by their seed or system alone."""
    arguments = [TINY.get(part, part) for part in call]
    match call[:2]:
        case ("train", dataset):
            arguments += ["--set", "encoder=clap"]
            if dataset == "clotho":
                arguments += ["--dry-run", "--set", "batch=1", "--set", "accumulate=1"]  # it has two clips to train on
            out = call[call.index("--out") + 1] if "--out" in call else None
            is_again = any(out in one and ("--scst" in one) == ("--scst" in call) for one in done if out)
            return arguments if out is None or dataset == "clotho" or (out in TRAINED and not is_again) else None
        case ("params", _):
            return [*arguments, "--system", "additive"]
        case ("eval", "setup"):
            return [*arguments, "--check"]
        case ("eval", "compare"):
            return [*arguments, "--metrics", "cider_d"]
        case ("report", "ablation"):
            return [part for part in arguments if not part.startswith("runs/") or part in TRAINED]
    return arguments


@pytest.mark.slow
def test_the_page_leads_from_the_data_to_the_table(walked: tuple[Path, dict[tuple[str, ...], Any]]) -> None:
    place, done = walked
    for call, result in done.items():
        # The doctor sees the paper's data and weights missing; whether SPICE is there depends on the machine.
        allowed = {("doctor", "audiocaps"): {3}, ("eval", "setup"): {0, 4}}.get(call[:2], {0})
        assert result.returncode in allowed, (shlex.join(call), result.stdout, result.stderr)
    kinds = {call[:2] for call in done}
    assert {("data", "prepare"), ("data", "verify"), ("encode", "audiocaps"), ("train", "clotho")} <= kinds
    assert {("eval", "similarity"), ("eval", "tune-rerank"), ("eval", "rerank"), ("eval", "compare")} <= kinds
    assert {folder for folder in TRAINED if (place / folder / "run_card.json").is_file()} == TRAINED
    assert (place / "runs/audiocaps-additive-0/scst/run_card.json").is_file()
    assert (place / "report/table1.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (place / "report/difference.svg").read_text()
    methods = (place / "report/methods.md").read_text()
    assert "Audio is heard at 48,000 Hz in windows of 10 s" in methods
    assert "a fixed denominator of 7 clips, of which 2 without usable audio" in methods


@pytest.mark.slow
def test_clap_measures_the_candidates_of_the_page(walked: tuple[Path, dict[tuple[str, ...], Any]]) -> None:
    """What `fusion eval similarity --by clap` wrote are the cosines of both towers, also where the run wrote them itself."""
    from fusion_encoders.audio import load_audio
    from fusion_encoders.base import FeatureSequence
    from fusion_encoders.clap import ClapSimilarity

    place, _ = walked
    clap = ClapSimilarity(str(place / "clap"))
    measured = Predictions.read(place / "rerank/test.json")
    assert measured == Predictions.read(place / "runs/audiocaps-additive-0/predictions/audio.json")
    values = set()
    for item in measured.items:
        (file,) = (place / "audio").rglob(f"Y{item.id}.wav")
        frames = clap.encoder.encode(load_audio(file, clap.encoder.sample_rate))
        audio = clap.embed_audio(FeatureSequence.pad([frames]))[0]
        cosines = clap.embed_text([one.text for one in item.candidates or ()]) @ audio
        assert [one.similarity for one in item.candidates or ()] == pytest.approx(cosines.tolist(), abs=2e-3)
        values |= set(cosines.tolist())
    assert len(values) > 5
    weights = json.loads((place / "rerank/weights.json").read_text())
    assert weights["missing"] == ["val00000002"]


@pytest.mark.slow
def test_scores_of_the_page_have_the_denominators_that_it_names(
    walked: tuple[Path, dict[tuple[str, ...], Any]],
) -> None:
    _, done = walked
    whole, listed = (result for call, result in done.items() if call[:2] == ("eval", "captions"))
    assert "7 clips" in whole.stdout
    assert "2 of 7 clips have no prediction" in " ".join(whole.stderr.split())
    assert "the 3 clips of listed" in " ".join(listed.stdout.split())
    assert "1 of 3 clips have no prediction" in " ".join(listed.stderr.split())
