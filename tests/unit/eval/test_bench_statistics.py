"""The benchmark of the bootstrap: what is timed is what a comparison does, and the bar is judged."""

from __future__ import annotations

import json

import pytest
from fusion_cli.bench import app, resampling
from fusion_cli.bench.captions import BenchCaptions
from typer.testing import CliRunner

SMALL = BenchCaptions(
    source="a test",
    captions=["a dog barks at a car", "heavy rain falls", "a bell rings"],
    references=[["a dog barks", "a dog is barking at a car"], ["rain falls on a roof"], ["a bell rings twice"]],
    train=[],
    samples=[],
    clips=[],
)


@pytest.fixture
def small(monkeypatch):
    """Few runs of few resamples, without Java."""
    monkeypatch.setattr(resampling, "METRICS", ("bleu", "rouge_l", "cider_d"))
    monkeypatch.setattr(resampling, "RESAMPLES", 200)
    monkeypatch.setattr(resampling, "_RUNS", 2)


@pytest.mark.usefixtures("small")
def test_every_value_is_resampled_and_the_bar_is_judged():
    found = resampling.measure(SMALL)
    assert found["values"] == ["bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider_d"]
    assert set(found["seconds"]) == {"scipy_percentile", "scipy_bca", "bootstrap", "bootstrap_and_sign_flips"}
    fastest = min(found["seconds"]["scipy_percentile"], found["seconds"]["scipy_bca"])
    assert found["bar"]["ratio"] == found["ratios"]["bootstrap"] == found["seconds"]["bootstrap"] / fastest
    assert found["bar"]["kept"] == (found["bar"]["ratio"] <= 2)


@pytest.mark.usefixtures("small")
def test_the_table_and_json_show_the_bar(monkeypatch):
    monkeypatch.setattr("fusion_cli.bench.captions.make_captions", lambda: SMALL)
    table = CliRunner().invoke(app, ["statistics"])
    assert "Bar: at most 2x" in table.stdout, table.output
    assert json.loads(CliRunner().invoke(app, ["statistics", "--json"]).stdout)["clips"] == 3
