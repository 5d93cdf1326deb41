"""The benchmark of the metrics: every tool computes the same, what cannot be timed is said, bars are judged."""

from __future__ import annotations

import json

import pytest
from fusion_cli.bench import app, caption_metrics, timing
from fusion_cli.bench.captions import BenchCaptions, make_captions, read_captions
from fusion_cli.bench.timing import AacMetrics, FusionEval, PycocoEvalcap, measure_tool
from typer.testing import CliRunner

SMALL = BenchCaptions(
    source="a test",
    captions=["a dog barks at a car", "heavy rain falls", "a bell rings"],
    references=[["a dog barks", "a dog is barking at a car"], ["rain falls on a roof"], ["a bell rings twice"]],
    train=[["a dog barks"], ["rain falls on a roof"], ["a bell rings"]],
    samples=["a dog", "rain falls", "rain on a roof"],
    clips=[0, 1, 1],
)


def _native(tool):
    return {name: value for stage in ("cider_d", "bleu", "rouge_l") for name, value in tool.stages[stage]().items()}


@pytest.mark.parametrize("rival", [PycocoEvalcap, pytest.param(AacMetrics, marks=pytest.mark.slow)])
def test_the_tools_compute_the_same(rival):
    pytest.importorskip("pycocoevalcap")
    if rival is AacMetrics:
        pytest.importorskip("aac_metrics")
    ours, theirs = FusionEval(SMALL.to_json()), rival(SMALL.to_json())
    for name, column in _native(ours).items():
        assert column == pytest.approx(_native(theirs)[name], abs=1e-12)
    reward = theirs.stages["reward"]()
    if reward:
        assert ours.stages["reward"]()["reward"] == pytest.approx(reward["reward"], abs=1e-12)


def test_a_stage_that_fails_is_named_and_the_others_are_timed(monkeypatch):
    def without_java():
        raise RuntimeError("no Java")

    monkeypatch.setattr(timing, "_REPEATS", 1)
    monkeypatch.setattr(FusionEval, "together", lambda self, names: "meteor" in names and without_java())
    tool = FusionEval(SMALL.to_json())
    monkeypatch.setitem(tool.stages, "meteor", without_java)
    monkeypatch.setattr(timing, "FusionEval", lambda data: tool)
    found = measure_tool("fusion-eval", SMALL.to_json())
    assert found["failures"] == dict.fromkeys(("all_cold", "all", "meteor"), "RuntimeError: no Java")
    assert found["seconds"].keys() == {"native", "tokenise", "cider_d", "bleu", "rouge_l", "reward"}
    assert found["values"]["reward"][0] > 0


def test_made_captions_are_as_many_as_those_of_audiocaps_and_the_same_each_time():
    made = make_captions()
    assert made == make_captions()
    assert (len(made.captions), len(made.references), len(made.train)) == (975, 975, 49_838)
    assert {len(texts) for texts in made.references} == {5}
    assert (len(made.samples), len(set(made.clips))) == (320, 64)


@pytest.mark.shared
def test_captions_of_audiocaps(shared):
    captions = read_captions(shared / "data/aac/audiocaps")
    assert (len(captions.captions), len(captions.train)) == (975, 49_838)


def _measured(seconds, captions=SMALL):
    """Return what ``measure`` makes of tools that took so long."""

    def run_tool(name, content):
        if name not in seconds:
            return {"version": None, "seconds": {}, "values": {}, "failures": {"start": "could not be timed (gone)."}}
        values = {"cider_d": [1.0, 0.5 + 1e-16 * (name != "fusion-eval")]}
        return {"version": "1", "seconds": seconds[name], "values": values, "failures": {}}

    return run_tool


def test_ratios_are_to_the_faster_and_what_is_absent_is_said(monkeypatch):
    seconds = {
        "fusion-eval": {"cider_d": 0.1, "reward": 0.01},
        "pycocoevalcap": {"cider_d": 0.6, "reward": 0.05},
    }
    monkeypatch.setattr(caption_metrics, "_run_tool", _measured(seconds))
    found = caption_metrics.measure(SMALL)
    assert found["ratios"] == {"pycocoevalcap": {"cider_d": pytest.approx(6), "reward": pytest.approx(5)}}
    assert found["bars"]["cider_d"]["kept"]
    assert not found["bars"]["reward"]["kept"]
    assert found["notes"] == ["aac-metrics, start: could not be timed (gone)."]
    assert found["largest_difference"]["pycocoevalcap"]["cider_d"] < 1e-15


def test_the_command_prints_a_table_or_json(monkeypatch):
    seconds = {name: dict.fromkeys(caption_metrics.STAGES, 0.5) for name in ("fusion-eval", "aac-metrics")}
    monkeypatch.setattr(caption_metrics, "_run_tool", _measured(seconds))
    monkeypatch.setattr("fusion_cli.bench.captions.make_captions", lambda: SMALL)
    table = CliRunner().invoke(app, ["metrics"])
    assert table.exit_code == 0, table.output
    assert "NOT KEPT" in table.output
    assert "pycocoevalcap, start: could not be timed" in table.output
    result = CliRunner().invoke(app, ["metrics", "--json"])
    assert json.loads(result.stdout)["ratios"]["aac-metrics"]["bleu"] == 1.0


def test_a_tool_that_is_not_there_is_named():
    found = caption_metrics._run_tool("no-such-tool", SMALL.to_json())
    assert found["seconds"] == {}
    assert "could not be timed (KeyError" in found["failures"]["start"]
