"""``fusion eval setup``: what it prints, and its exit codes."""

from __future__ import annotations

import hashlib
import json

import pytest
import typer
from fusion_cli.evaluation.setup import setup
from fusion_eval import provision
from fusion_eval.errors import MissingAssetError
from fusion_eval.java import runtime
from fusion_eval.provision import Artifact
from typer.testing import CliRunner

CONTENT = b"a jar"


@pytest.fixture(autouse=True)
def one_file(monkeypatch, tmp_path):
    """One small file, a Java, and a cache of their own."""
    monkeypatch.setenv("FUSION_CACHE", str(tmp_path / "cache"))
    file = Artifact("a-1.jar", "spice", 5, hashlib.sha256(CONTENT).hexdigest(), coordinates=("org.a", "a", "1"))
    monkeypatch.setattr(provision, "ARTIFACTS", (file,))
    monkeypatch.setattr(runtime, "find_java", lambda: runtime.Java("java", "17.0.1"))


@pytest.fixture
def run():
    app = typer.Typer()
    app.command()(setup)
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


def test_check_says_what_is_missing_and_changes_nothing(run, tmp_path):
    result = run("--check", "--json")
    assert result.exit_code == 4
    found = json.loads(result.stdout)
    assert found["java"] == "17.0.1"
    assert found["files"] == [
        {"name": "a-1.jar", "tool": "spice", "size": 5, "state": "missing", "detail": "run 'fusion-eval setup'"}
    ]
    assert not (tmp_path / "cache").exists()


def test_a_folder_provides_and_the_table_names_it(run, tmp_path):
    (tmp_path / "a-1.jar").write_bytes(CONTENT)
    result = run("--from", str(tmp_path))
    assert result.exit_code == 0
    assert "a-1.jar" in result.stdout
    assert "Provided: a-1.jar." in result.stderr
    again = run("--json")
    assert again.exit_code == 0
    assert json.loads(again.stdout)["files"][0]["state"] == "ok"
    assert "Nothing was missing." in again.stderr


def test_without_java_the_exit_code_says_so(run, tmp_path, monkeypatch):
    def missing() -> None:
        raise MissingAssetError("Java is not installed; install a Java runtime.")

    monkeypatch.setattr(runtime, "find_java", missing)
    (tmp_path / "a-1.jar").write_bytes(CONTENT)
    result = run("--from", str(tmp_path), "--json")
    assert result.exit_code == 4
    assert json.loads(result.stdout)["detail"].startswith("Java is not installed")


def test_a_folder_without_the_file_is_refused(run, tmp_path):
    result = run("--from", str(tmp_path))
    assert isinstance(result.exception, MissingAssetError)
