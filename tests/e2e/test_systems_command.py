"""Every system through the command line, one of them from another package that was installed on its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fusion_eval.schemas import RunCard

pytestmark = pytest.mark.slow
OTHERS = ["concat", "cross-attention", "data-only", "hybrid", "partial-unfreeze"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a cache of its own."""
    return tmp_path_factory.mktemp("systems")


def fusion(place: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "FUSION_CACHE": str(place / "cache"), "OMP_NUM_THREADS": "1", "COLUMNS": "160", **more}
    return subprocess.run(
        [sys.executable, "-m", "fusion_cli", *arguments],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def training(system: str, *arguments: str) -> list[str]:
    return ["train", "scenes", "--system", system, "--profile", "tiny", "--out", f"runs/{system}", *arguments]


@pytest.mark.parametrize("system", OTHERS)
def test_a_system_trains_and_its_run_can_be_used(place, fusion_here, system):
    done = fusion_here(place, *training(system))
    assert done.returncode == 0, done.stderr
    run = place / "runs" / system
    card = RunCard.read(run / "run_card.json")
    assert card.system.name == system
    assert card.parameters.ratio_to_reference is not None
    if system == "partial-unfreeze":
        assert card.parameters.ratio_to_reference > 1.5
    else:
        assert 0.9 <= card.parameters.ratio_to_reference <= 1.1
    assert (card.encoder is None) is (system == "data-only")
    assert (card.system.addition_ratio is None) is (system == "data-only")
    readme = (run / "adapter" / "README.md").read_text()
    assert readme.startswith("---\nlibrary_name: fusion\n")
    assert f"{card.parameters.total:,}" in readme
    if system in ("data-only", "partial-unfreeze"):
        clip = min((place / "data").rglob("*.flac"))
        said = fusion_here(place, "caption", str(clip), "--ckpt", str(run), "--json")
        assert said.returncode == 0, said.stderr
        assert [entry["file"] for entry in json.loads(said.stdout)] == [str(clip)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """Another package, built and installed into a folder of its own."""
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not on the path")
    folder = tmp_path_factory.mktemp("site")
    source = folder / "source"
    shutil.copytree(repository / "tests" / "fixtures" / "echo_system", source)
    command = [uv, "pip", "install", "--python", sys.executable, "--target", str(folder / "installed")]
    subprocess.run(
        [*command, "--no-deps", "--offline", str(source)], check=True, capture_output=True, stdin=subprocess.DEVNULL
    )
    return folder / "installed"


def test_a_system_of_another_package_trains_by_its_name(place, site):
    unknown = fusion(place, *training("echo", "--dry-run"))
    assert unknown.returncode == 2
    assert "There is no system 'echo'" in unknown.stderr
    assert (site / "echo_system" / "__init__.py").is_file()
    done = fusion(place, *training("echo", "--set", "system.loudness=0.2"), PYTHONPATH=str(site))
    assert done.returncode == 0, done.stderr
    card = RunCard.read(place / "runs" / "echo" / "run_card.json")
    assert card.system.name == "echo"
    assert card.system.config["loudness"] == 0.2
    assert 0.9 <= card.parameters.ratio_to_reference <= 1.1
    assert card.system.addition_ratio.keys() == {1}
    clip = min((place / "data").rglob("*.flac"))
    said = fusion(place, "caption", str(clip), "--ckpt", "runs/echo", PYTHONPATH=str(site))
    assert said.returncode == 0, said.stderr
    wrong = fusion(place, *training("echo", "--set", "system.colour=red", "--dry-run"), PYTHONPATH=str(site))
    assert wrong.returncode == 2
    assert "'echo' has no such option; it has block, width, loudness" in wrong.stderr
