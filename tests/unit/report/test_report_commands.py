"""The commands of ``fusion report`` on a study's results, as they are typed."""

from __future__ import annotations

import json

import pytest
from fusion_cli.report import app
from fusion_cli.reporting import options
from fusion_core.errors import GateFailedError
from fusion_eval.errors import ConfigError, DataError
from typer.testing import CliRunner


@pytest.fixture
def repository_with_results(tmp_path, whole_results, report_cache, monkeypatch):
    """A working folder with one study in results/."""
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "small").symlink_to(whole_results)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FUSION_CACHE", str(report_cache.parent / "commands"))
    return tmp_path


def run(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def test_pareto_needs_no_argument(repository_with_results):
    done = run("pareto", "--resamples", "200", "--json")
    assert done.exit_code == 0, done.output
    points = json.loads(done.stdout)
    assert any(point["front"] for point in points)
    assert {point["system"] for point in points} >= {"additive", "cross-attention"}
    assert (repository_with_results / "report" / "figures" / "pareto.pdf").is_file()


def test_tables_are_printed_and_written(repository_with_results):
    done = run("tables", "--only", "retention", "--only", "cost", "--json")
    assert done.exit_code == 0, done.output
    assert [table["key"] for table in json.loads(done.stdout)] == ["retention", "cost"]
    assert (repository_with_results / "report" / "tables" / "cost.tex").is_file()
    shown = run("tables", "--only", "retention")
    assert "identical" in shown.stdout
    assert "out of memory" in shown.stdout
    assert isinstance(run("tables", "--only", "retentoin").exception, ConfigError)


def test_the_gate_of_the_checklist_ends_with_five(repository_with_results):
    done = run("checklist", "--json", "--gate")
    content = json.loads(done.stdout)
    assert content["passes"] is False
    assert {line["verdict"] for line in content["lines"]} <= {"pass", "fail", "not measured"}
    assert isinstance(done.exception, GateFailedError)
    assert done.exception.exit_code == 5
    assert run("checklist", "--json").exit_code == 0


def test_methods_of_a_study_and_curves_without_runs(repository_with_results):
    done = run("methods", "--out", "methods.tex")
    assert done.exit_code == 0, done.output
    text = (repository_with_results / "methods.tex").read_text()
    assert "% runs/additive-s0/run_card.json" in text
    assert "44,100 Hz" in text
    curves = run("curves", "--json")
    assert curves.exit_code == 0, curves.output
    assert {run["run"] for run in json.loads(curves.stdout)} >= {"additive-s0", "concat-s2"}
    assert (repository_with_results / "report" / "figures" / "curves.svg").is_file()


def test_which_results_are_meant(repository_with_results, whole_results):
    root = repository_with_results / "results"
    assert options.open_results(None).results.root.name == "small"
    (root / "tiny").symlink_to(whole_results)
    with pytest.raises(ConfigError, match="several results"):
        options.open_results(None)
    (root / "embedded").symlink_to(whole_results)
    assert options.open_results(None).results.root.name == "embedded"
    for name in ("small", "tiny", "embedded"):
        (root / name).unlink()
    with pytest.raises(DataError, match="no results here"):
        options.open_results(None)
    with pytest.raises(ConfigError, match="too few"):
        options.open_results(whole_results, resamples=5)


@pytest.mark.slow
def test_everything_is_written_with_the_page_and_not_drawn_twice(repository_with_results):
    first = run("all", "--resamples", "200", "--json")
    assert first.exit_code == 0, first.output
    report = repository_with_results / "report"
    page = (report / "index.html").read_bytes()
    assert b"additive" in page
    assert (report / "figures" / "pareto.pdf").is_file()
    again = json.loads(run("all", "--resamples", "200", "--json").stdout)
    assert again["written"] == []
    assert again["kept"] == len(json.loads(first.stdout)["written"])
    assert (report / "index.html").read_bytes() == page
