"""``fusion eval compare``: tables, files, JSON, several files a side, the plot, and errors."""

from __future__ import annotations

import json

import pytest
import typer
from fusion_cli.evaluation.compare import SeveralFiles, compare, say_again
from fusion_eval.errors import ConfigError, DataError
from fusion_eval.schemas.comparison import Comparison
from typer.testing import CliRunner

app = typer.Typer()
app.command(cls=SeveralFiles)(compare)


@pytest.fixture
def root(tmp_path, references, predictions):
    """References, two seeds of one system and one file of another."""
    references.write(tmp_path / "references" / "test.json")
    predictions.write(tmp_path / "a0.json")
    other = [item.model_copy(update={"caption": "a dog in the rain"}) for item in predictions.items]
    predictions.model_copy(update={"items": tuple(other), "run_id": "1"}).write(tmp_path / "a1.json")
    worse = [item.model_copy(update={"caption": "music"}) for item in predictions.items]
    predictions.model_copy(update={"items": tuple(worse), "system": "worse"}).write(tmp_path / "b.json")
    return tmp_path


def _run(root, *arguments, a=("a0.json",)):
    sides = ["--a", *(str(root / name) for name in a), "--b", str(root / "b.json")]
    options = ["--references", str(root / "references" / "test.json"), "--resamples", "200"]
    return CliRunner().invoke(app, [*sides, *options, *arguments], env={"COLUMNS": "80"})


def test_the_table_and_the_file_hold_the_same(root):
    result = _run(root, "--metrics", "cider_d,vocabulary", "--out", str(root / "comparison.json"))
    assert result.exit_code == 0, result.output
    found = Comparison.read(root / "comparison.json")
    row = next(line for line in result.stdout.splitlines() if "cider_d" in line).split()
    difference = found.metrics["cider_d"].difference
    assert row[1] == f"{found.metrics['cider_d'].a.value:.4f}"
    assert row[3] == f"{difference.value:+.4f}"
    assert row[-2:] == [f"{difference.p:.4f}", f"{difference.p_sign_flip:.4f}"]
    assert "Over seeds" not in result.stdout
    assert "No interval of" in result.stderr
    assert "vocabulary" in result.stderr


def test_several_files_may_follow_an_option(root):
    result = _run(root, "--metrics", "cider_d", "--json", a=("a0.json", "a1.json"))
    found = Comparison.model_validate(json.loads(result.stdout))
    assert (len(found.a), len(found.b)) == (2, 1)
    assert len(found.metrics["cider_d"].a.seeds.values) == 2
    table = _run(root, "--metrics", "cider_d", a=("a0.json", "a1.json")).stdout
    assert "Over seeds" in table
    assert " ± " in table


def test_an_option_is_said_again_before_each_of_its_values():
    said = say_again(["--a", "1", "2", "--seed", "3", "--b", "4", "--a=5", "6"], ["--a", "--b"])
    assert said == ["--a", "1", "--a", "2", "--seed", "3", "--b", "4", "--a=5", "6"]


def test_event_graphs_are_found_and_bring_their_metrics(root, events):
    events.write(root / "events" / "test.json")
    result = _run(root, "--metrics", "event_f1", "--json")
    assert "event_f1_micro" in json.loads(result.stdout)["metrics"]


def test_the_plot_is_drawn(root):
    result = _run(root, "--metrics", "cider_d", "--plot", str(root / "plot.svg"))
    assert result.exit_code == 0, result.output
    assert "CIDEr-D" in (root / "plot.svg").read_text()


def test_an_unknown_plot_format_is_refused_before_anything_is_scored(root):
    result = _run(root, "--plot", str(root / "plot.docx"))
    assert isinstance(result.exception, ConfigError)
    assert "fusion.references" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "error"), [(["--metrics", "blue"], ConfigError), (["--resamples", "5"], ConfigError)]
)
def test_errors_carry_their_exit_code_and_nothing_is_written(root, arguments, error):
    result = _run(root, *arguments, "--out", str(root / "comparison.json"))
    assert isinstance(result.exception, error)
    assert not (root / "comparison.json").exists()


def test_the_same_file_twice_is_refused(root):
    assert isinstance(_run(root, a=("a0.json", "a0.json")).exception, DataError)
