"""``fusion eval captions``: the table, the file, JSON, found event graphs, and errors."""

from __future__ import annotations

import json

import pytest
from fusion_cli.evaluation import app
from fusion_eval.errors import ConfigError, DataError
from fusion_eval.schemas import Scores
from typer.testing import CliRunner


@pytest.fixture
def root(tmp_path, references, predictions, events):
    """A prepared folder without event graphs, and predictions beside it."""
    references.write(tmp_path / "references" / "test.json")
    predictions.write(tmp_path / "p.json")
    return tmp_path


def _run(root, *arguments):
    files = ["--predictions", str(root / "p.json"), "--references", str(root / "references" / "test.json")]
    return CliRunner().invoke(app, ["captions", *files, *arguments])


def test_the_table_and_the_file_hold_the_same(root):
    result = _run(root, "--metrics", "cider_d", "--out", str(root / "scores.json"))
    assert result.exit_code == 0
    scores = Scores.read(root / "scores.json")
    row = next(line for line in result.stdout.splitlines() if "cider_d" in line)
    assert f"{scores.metrics['cider_d']:.4f}" in row
    assert " 2 " in row
    assert str(root / "scores.json") in result.stderr.replace("\n", "")


def test_event_graphs_are_found_beside_the_references(root, events):
    assert "needs the event graphs" in _run(root).stderr.replace("\n", " ")
    events.write(root / "events" / "test.json")
    result = _run(root, "--json")
    assert json.loads(result.stdout)["metrics"]["event_f1"] == pytest.approx(5 / 6)
    assert json.loads(result.stdout)["events_sha256"] == events.sha256()


def test_event_graphs_can_be_given(root, events):
    events.write(root / "elsewhere.json")
    result = _run(root, "--events", str(root / "elsewhere.json"), "--metrics", "event_f1", "--json")
    assert set(json.loads(result.stdout)["denominator"]) >= {"event_f1"}


def test_json_goes_to_the_output_and_notes_to_the_error_stream(root, predictions):
    predictions.model_copy(update={"items": predictions.items[:1]}).write(root / "p.json")
    result = _run(root, "--allow-missing", "--json")
    assert json.loads(result.stdout)["missing"] == ["a"]
    assert "1 of 2 clips" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "error"),
    [(["--metrics", "blue"], ConfigError), (["--events", "absent.json"], DataError), (["--metrics", ","], ConfigError)],
)
def test_errors_carry_their_exit_code(root, arguments, error):
    result = _run(root, *arguments)
    assert isinstance(result.exception, error)


def test_a_failed_run_writes_nothing(root):
    (root / "p.json").write_text("{}")
    result = _run(root, "--out", str(root / "scores.json"))
    assert isinstance(result.exception, DataError)
    assert not (root / "scores.json").exists()
