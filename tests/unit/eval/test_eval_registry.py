"""Metrics by name: lazily, with a hint for a misspelt one, and from other packages."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest
from fusion_eval import registry
from fusion_eval.errors import ConfigError, MissingAssetError
from fusion_eval.metrics.base import Metric, MetricValues, ScoredClips
from fusion_eval.registry import load_metric, metric_names, resolve_metrics
from fusion_eval.scoring import score

LENGTH = Metric(
    "length",
    "words of a caption",
    lambda clips: MetricValues(
        corpus={"length": sum(map(len, clips.caption_tokens)) / len(clips.ids)},
        denominator={"length": len(clips.ids)},
        per_clip={"length": [float(len(tokens)) for tokens in clips.caption_tokens]},
        definition={"length": {"over": "clips"}},
        tools={"ruler": "1"},
    ),
)
NO_METRIC = "a string"


@pytest.fixture
def other_package(monkeypatch):
    """Let other packages offer a metric, a broken one, one that is none, and one under a taken name."""
    points = {
        "length": f"{__name__}:LENGTH",
        "broken": "no_such_module:METRIC",
        "none": f"{__name__}:NO_METRIC",
        "cider_d": f"{__name__}:LENGTH",
    }
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    monkeypatch.setattr(
        registry,
        "entry_points",
        lambda group: [EntryPoint(name, place, group) for name, place in points.items()],
    )


@pytest.mark.parametrize("name", metric_names())
def test_every_metric_loads_under_its_name_or_that_of_one_of_its_values(name):
    metric = load_metric(name)
    assert metric.summary
    if metric.name != name:
        assert name in metric.compute(ScoredClips(["1"], ["a dog barks"], [["a dog"]])).corpus


def test_a_misspelt_name_gets_a_hint_and_a_strange_one_the_list():
    with pytest.raises(ConfigError, match="no metric 'cider'; did you mean 'cider_d'"):
        load_metric("cider")
    with pytest.raises(ConfigError, match="the metrics are bleu, bleu_1"):
        load_metric("zzz")


def test_names_are_resolved_once_each_and_in_order():
    assert [metric.name for metric in resolve_metrics(["event_f1", "cider_d", "event_f1"])] == ["event_f1", "cider_d"]
    assert [metric.name for metric in resolve_metrics(["bleu_4", "cider_d", "bleu_1"])] == ["bleu", "cider_d"]
    everything = [metric.name for metric in resolve_metrics(["all"])]
    assert everything == list(dict.fromkeys(load_metric(name).name for name in metric_names()))
    with pytest.raises(ConfigError, match="No metric is named"):
        resolve_metrics([])


def test_listing_loads_no_metric():
    code = (
        "import sys; from fusion_eval.registry import metric_names; metric_names();"
        "assert not [name for name in sys.modules if name.startswith('fusion_eval.metrics.') and 'base' not in name]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_metric_of_another_package_scores_like_ours(other_package, predictions, references):
    scores = score(predictions, references, ["length"])
    assert scores.metrics == {"length": 3.0}
    assert scores.tools["ruler"] == "1"


def test_another_package_cannot_replace_a_metric_of_ours(other_package):
    assert load_metric("cider_d").summary != LENGTH.summary


def test_a_broken_metric_of_another_package_is_named(other_package):
    with pytest.raises(MissingAssetError, match="'broken' cannot be loaded from no_such_module:METRIC"):
        load_metric("broken")
    with pytest.raises(ConfigError, match="is no fusion_eval"):
        load_metric("none")
