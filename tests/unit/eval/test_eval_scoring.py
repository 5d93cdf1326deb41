"""Scores: values, denominators, definitions, what is missing and what cannot be had."""

from __future__ import annotations

import pytest
from fusion_eval import Predictions, References, Resources, cider_d
from fusion_eval.errors import ConfigError
from fusion_eval.schemas import Scores
from fusion_eval.scoring import score


@pytest.fixture(autouse=True)
def _no_java(monkeypatch):
    """Metrics of Java tools have tests of their own; here they are absent."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JAVA_HOME", raising=False)


def test_scores_say_what_they_were_computed_from(predictions, references, events, tmp_path):
    scores = score(predictions, references, ["all"], events)
    assert (scores.dataset, scores.split, scores.system, scores.n) == ("demo", "test", "mine", 2)
    assert scores.predictions_sha256 == predictions.sha256()
    assert scores.references_sha256 == references.sha256()
    assert scores.events_sha256 == events.sha256()
    assert scores.definition["cider_d"] == {"n": 4, "sigma": 6.0, "df": "scored references", "over": "clips"}
    assert set(scores.metrics) == set(scores.denominator) == set(scores.definition)
    assert {"fusion_eval", "python", "tokeniser"} <= set(scores.tools)
    scores.write(tmp_path / "scores.json")
    assert Scores.read(tmp_path / "scores.json") == scores


def test_values_are_those_of_the_metrics_alone(predictions, references, events):
    scores = score(predictions, references, ["all"], events)
    captions = {item.id: item.caption for item in predictions.items}
    corpus, per_clip = cider_d(
        [captions[item.id] for item in references.items], [item.references for item in references.items]
    )
    assert scores.metrics["cider_d"] == corpus
    assert [clip.values["cider_d"] for clip in scores.per_clip] == per_clip
    assert scores.metrics["event_f1"] == pytest.approx((2 / 3 + 1) / 2)
    assert scores.metrics["order_accuracy"] == 0.0
    assert scores.metrics["count_accuracy"] == 0.5
    assert "order_accuracy_named" in scores.unavailable


def test_a_value_that_does_not_apply_to_a_clip_is_absent(predictions, references, events):
    scores = score(predictions, references, ["order_accuracy"], events)
    assert [clip.values for clip in scores.per_clip] == [{"order_accuracy": 0.0}, {}]


def test_a_missing_clip_counts_as_an_empty_caption(predictions, references, events):
    only_rain = predictions.model_copy(update={"items": predictions.items[:1]})
    scores = score(only_rain, references, ["cider_d", "event_f1"], events, allow_missing=True)
    assert scores.missing == ("a",)
    assert scores.n == 2
    assert scores.per_clip[0].values == {"cider_d": 0.0, "event_f1": 0.0}
    assert scores.metrics["event_f1"] == 0.5


def test_metrics_of_scenes_need_event_graphs(predictions, references):
    with pytest.raises(ConfigError, match=r"'event_f1' needs the event graphs .*--events"):
        score(predictions, references, ["cider_d", "event_f1"])
    scores = score(predictions, references, ["all"])
    assert {"cider_d", "bleu_4", "rouge_l"} <= set(scores.metrics)
    assert {"event_f1", "order_accuracy", "count_accuracy"} <= set(scores.unavailable)
    assert not set(scores.metrics) & set(scores.unavailable)


def test_texts_that_are_tokens_already_stay_as_they_are():
    captions, truth = {"1": "a woman's voice"}, {"1": ["a woman 's voice", "a woman's voice"]}
    files = Predictions.from_captions(captions, "mine"), References.from_captions(truth)
    split = score(*files, metrics=["bleu", "caption_length"])
    given = score(*files, metrics=["bleu", "caption_length"], resources=Resources(tokenised=True))
    assert split.metrics["caption_length"] == 4
    assert given.metrics["caption_length"] == 3
    assert "none" in given.tools["tokeniser"]
    assert "PTBTokenizer" in split.tools["tokeniser"]
