"""Event-F1, order and count accuracy: values worked out by hand, denominators, and what does not apply."""

from __future__ import annotations

import pytest
from fusion_eval.errors import ConfigError
from fusion_eval.metrics.base import ScoredClips
from fusion_eval.metrics.scene_events import count_accuracy, event_f1, order_accuracy
from fusion_eval.schemas import SceneEvent, SceneItem
from hypothesis import given
from hypothesis import strategies as st

LEXICON = {name: (name,) for name in ("dog", "bell", "rain", "siren")}


def _scene(*classes: str, order=(), counts=()) -> SceneItem:
    counts = dict(counts)
    events = tuple(
        SceneEvent(sound_class=name, onset=i, offset=i + 0.5, count=counts.get(i), role="foreground")
        for i, name in enumerate(classes)
    )
    return SceneItem(id="x", events=events, order=order, combination="seen")


def _clips(*pairs: tuple[str, SceneItem]) -> ScoredClips:
    return ScoredClips(
        ids=[str(number) for number in range(len(pairs))],
        captions=[caption for caption, _ in pairs],
        references=[["a"] for _ in pairs],
        scenes=[scene for _, scene in pairs],
        lexicon=LEXICON,
    )


def test_event_f1_by_hand():
    values = event_f1(
        _clips(
            ("a dog and a bell", _scene("dog", "bell")),
            ("a dog and a siren", _scene("dog", "bell")),
            ("an animal", _scene("dog")),
            ("dog dog dog", _scene("dog", "dog", "rain", "bell")),
        )
    )
    assert values.per_clip["event_f1"] == [1.0, 0.5, 0.0, 0.5]
    assert values.corpus == pytest.approx(
        {"event_f1": 0.5, "event_f1_micro": 8 / 13, "event_precision": 4 / 5, "event_recall": 4 / 8}
    )
    assert values.denominator == {"event_f1": 4, "event_f1_micro": 13, "event_precision": 5, "event_recall": 8}


def test_a_corpus_that_names_nothing_scores_zero():
    values = event_f1(_clips(("", _scene("dog"))))
    assert set(values.corpus.values()) == {0.0}


def test_a_scene_without_events_does_not_apply_and_its_names_count_as_wrong():
    values = event_f1(_clips(("a dog", _scene()), ("a bell", _scene("bell"))))
    assert values.per_clip["event_f1"] == [None, 1.0]
    assert values.corpus["event_precision"] == 0.5
    assert "event_f1" in event_f1(_clips(("a dog", _scene()))).unavailable


def test_order_accuracy_by_hand():
    in_order = _scene("dog", "bell", "siren", order=((0, 1), (0, 2), (1, 2)))
    values = order_accuracy(
        _clips(
            ("a dog then a bell then a siren", in_order),
            ("a siren then a bell", in_order),
            ("a bell after a dog", _scene("dog", "bell", order=((0, 1),))),
            ("a dog while a bell", _scene("dog", "bell", order=((0, 1),))),
            ("a dog", _scene("dog", "rain")),
        )
    )
    assert values.per_clip["order_accuracy"] == [1.0, 0.0, 1.0, 0.0, None]
    assert values.corpus == pytest.approx({"order_accuracy": 4 / 8, "order_accuracy_named": 4 / 6})
    assert values.denominator == {"order_accuracy": 8, "order_accuracy_named": 6}
    assert values.definition["order_accuracy"]["clips"] == 4


def test_pairs_without_a_tellable_order_are_left_out():
    both_ways = _scene("dog", "bell", "dog", order=((0, 1), (1, 2), (0, 2)))
    values = order_accuracy(_clips(("a dog", both_ways)))
    assert values.corpus == {}
    assert set(values.unavailable) >= {"order_accuracy"}


def test_order_of_named_pairs_is_absent_with_its_reason_where_none_is_named():
    values = order_accuracy(_clips(("a dog", _scene("dog", "bell", order=((0, 1),)))))
    assert values.corpus == {"order_accuracy": 0.0}
    assert "no caption names both" in values.unavailable["order_accuracy_named"]


def test_count_accuracy_by_hand():
    counted = _scene("dog", "bell", counts={0: 2, 1: 1}.items())
    values = count_accuracy(
        _clips(
            ("a dog twice and a single bell", counted),
            ("two dog and three bell", counted),
            ("a bell", counted),
            ("two dog", _scene("dog", "dog", counts={0: 1, 1: 1}.items())),
            ("three dog", _scene("dog")),
        )
    )
    assert values.per_clip["count_accuracy"] == [1.0, 0.5, 0.0, 1.0, None]
    assert values.corpus == pytest.approx({"count_accuracy": 4 / 7})
    assert values.denominator == {"count_accuracy": 7}
    assert "count_accuracy" in count_accuracy(_clips(("a dog", _scene("dog")))).unavailable


def test_without_event_graphs_there_is_one_sentence():
    with pytest.raises(ConfigError, match="need the event graphs"):
        event_f1(ScoredClips(ids=["a"], captions=[""], references=[["a"]]))


names = st.lists(st.sampled_from(sorted(LEXICON)), max_size=5)


@given(st.lists(st.tuples(names, names.filter(bool)), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_values_are_bounded_and_do_not_depend_on_the_order_of_clips(data, random):
    pairs = [(" and ".join(said), _scene(*true)) for said, true in data]
    values = event_f1(_clips(*pairs))
    assert all(0 <= value <= 1 for value in values.corpus.values())
    shuffled = event_f1(_clips(*random.sample(pairs, len(pairs))))
    assert shuffled.corpus == pytest.approx(values.corpus)


@given(st.lists(st.permutations(sorted(LEXICON)), min_size=1, max_size=5))
def test_a_caption_that_tells_the_graph_scores_one(graphs):
    order = tuple((i, j) for i in range(4) for j in range(i + 1, 4))
    pairs = [(" then ".join(classes), _scene(*classes, order=order)) for classes in graphs]
    assert event_f1(_clips(*pairs)).corpus["event_f1"] == 1.0
    assert order_accuracy(_clips(*pairs)).corpus == {"order_accuracy": 1.0, "order_accuracy_named": 1.0}
