"""Each built wheel installs and imports alone, with nothing but its declared dependencies beside it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PACKAGES = ("fusion-eval", "fusion-report", "fusion-core", "fusion-encoders", "fusion-train", "fusion-cli")
WITH_TORCH = frozenset(PACKAGES[2:])

IMPORT_ALL = """
import importlib, pathlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
names = [module.name for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
print(len(names), package.__file__, (pathlib.Path(package.__file__).parent / "py.typed").is_file())
"""


def run(command: list[str], cwd: Path, **environment: str) -> str:
    result = subprocess.run(
        command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def uv() -> str:
    path = shutil.which("uv")
    if path is None:
        pytest.skip("uv is not on the path")
    return path


@pytest.fixture(scope="module")
def wheels(uv: str, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run([uv, "build", "--all-packages", "--wheel", "--out-dir", str(folder)], repository)
    assert len(list(folder.glob("*.whl"))) == len(PACKAGES)
    return folder


@pytest.fixture(scope="module")
def install(uv: str, repository: Path, wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return what installs a package alone: its locked dependencies from uv's cache, its siblings from the built wheels.

    The packages that need torch take turns in one environment, of which uv takes out what the next one does not declare: so torch
    is compiled to byte code once.
    """
    folder = tmp_path_factory.mktemp("environments")

    def provide(package: str) -> Path:
        environment = folder / ("with-torch" if package in WITH_TORCH else package)
        python = str(environment / "bin" / "python")
        run(
            [uv, "sync", "--locked", "--offline", "--no-dev", "--no-install-workspace", "--package", package],
            repository,
            UV_PROJECT_ENVIRONMENT=str(environment),
            UV_LINK_MODE="symlink",
        )
        wheel = [uv, "pip", "install", "--python", python, "--offline", "--no-index", "--find-links", str(wheels)]
        run([*wheel, package], folder)
        return environment

    return provide


@pytest.mark.parametrize("package", PACKAGES)
def test_a_wheel_installs_and_imports_alone(
    uv: str, install: Callable[[str], Path], tmp_path: Path, package: str
) -> None:
    environment = install(package)
    python = str(environment / "bin" / "python")
    run([uv, "pip", "check", "--python", python], tmp_path)
    modules, place, typed = run([python, "-I", "-c", IMPORT_ALL, package.replace("-", "_")], tmp_path).split()
    assert int(modules) >= 1
    assert Path(place).is_relative_to(environment)
    assert typed == "True"


def test_the_installed_command_runs_without_the_checkout(install: Callable[[str], Path], tmp_path: Path) -> None:
    environment = install("fusion-cli")
    output = run([str(environment / "bin" / "fusion"), "--help"], tmp_path)
    assert "encode" in output
    assert "encode" in run([str(environment / "bin" / "python"), "-m", "fusion_cli", "--help"], tmp_path)


def test_the_metrics_wheel_alone_scores_without_java(install: Callable[[str], Path], tmp_path: Path) -> None:
    """Native metrics have values; METEOR and SPICE say what is missing; nothing of torch is there."""
    environment = install("fusion-eval")
    truth = {"1": ["a dog barks", "a dog is barking"], "2": ["rain falls", "heavy rain"]}
    common = {"dataset": "demo", "split": "test"}
    references = {**common, "schema": "fusion.references/1"}
    references["items"] = [{"id": name, "references": texts} for name, texts in truth.items()]
    predictions = {**common, "schema": "fusion.predictions/1", "system": "mine"}
    predictions["items"] = [{"id": name, "caption": "a dog"} for name in truth]
    (tmp_path / "r.json").write_text(json.dumps(references))
    (tmp_path / "p.json").write_text(json.dumps(predictions))
    command = [str(environment / "bin" / "fusion-eval"), "score", "--predictions", "p.json", "--references", "r.json"]
    output = run([*command, "--json"], tmp_path, PATH=str(environment / "bin"), JAVA_HOME="", HOME=str(tmp_path))
    scores = json.loads(output)
    assert {"bleu_4", "rouge_l", "cider_d", "distinct_1"} <= set(scores["metrics"])
    assert {"meteor", "spice", "spider", "fense"} <= set(scores["unavailable"])
    assert "fusion-eval[aac]" in scores["unavailable"]["meteor"]
    assert not list(environment.glob("lib/python*/site-packages/torch"))
