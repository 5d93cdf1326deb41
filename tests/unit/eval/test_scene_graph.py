"""The scene graphs of SPICE: proposals merged by synonyms, and tuples that agree."""

from __future__ import annotations

import pytest
from fusion_eval.metrics.scene_graph import SceneGraph, agreement, relation_word, words_of
from hypothesis import given
from hypothesis import strategies as st

SYNSETS = {
    "dog": {1, 2},
    "hound": {1},
    "cat": {3},
    "kitty": {3, 4},
    "bark": {5},
    "bay": {5, 6},
    "loud": {7},
    "noisy": {7, 8},
    "near": {9},
    "chase": set(),
    "run after": set(),
    "zork": set(),
}


def _graph(*captions: list[tuple[str, ...]]) -> SceneGraph:
    return SceneGraph(captions, SYNSETS)


def _words(graph: SceneGraph) -> list[tuple[str, ...]]:
    return [tuple("/".join(sorted(concept.words)) for concept in one) for one in graph.tuples()]


def test_synonyms_are_merged_into_one_object():
    assert _words(_graph([("dog",), ("cat",)], [("hound",)])) == [("dog/hound",), ("cat",)]


def test_a_word_without_synsets_is_its_own():
    assert _words(_graph([("zork",), ("dog",), ("zork",)])) == [("zork",), ("dog",)]


def test_a_word_goes_to_the_most_similar_object():
    synsets = {"a": {1, 2, 3}, "b": {4, 5}, "c": {3, 4}}  # c has 1 of 4 synsets in common with a, 1 of 3 with b
    assert _words(SceneGraph([[("a",), ("b",), ("c",)]], synsets)) == [("a",), ("b/c",)]


def test_of_equally_similar_objects_the_first_is_taken():
    synsets = {"a": {1}, "b": {2}, "c": {1, 2}}
    assert _words(SceneGraph([[("a",), ("b",), ("c",)]], synsets)) == [("a/c",), ("b",)]
    assert _words(SceneGraph([[("b",), ("a",), ("c",)]], synsets)) == [("b/c",), ("a",)]


def test_attributes_are_merged_within_their_object():
    graph = _graph([("dog", "loud"), ("cat", "loud")], [("hound", "noisy"), ("hound", "noisy")])
    assert _words(graph) == [("dog/hound",), ("cat",), ("dog/hound", "loud/noisy"), ("cat", "loud")]


def test_relations_are_merged_between_the_same_objects():
    graph = _graph([("dog", "cat", "bark")], [("hound", "kitty", "bay"), ("cat", "dog", "bark")])
    assert _words(graph) == [
        ("dog/hound",),
        ("cat/kitty",),
        ("dog/hound", "bark/bay", "cat/kitty"),
        ("cat/kitty", "bark", "dog/hound"),
    ]


def test_a_relation_loses_its_be():
    assert relation_word("be near") == "near"
    assert relation_word("become near") == "become near"
    assert relation_word("near be") == "near be"
    assert words_of([("be x",), ("a", "b"), ("a", "c", "be near")]) == {"be x", "a", "b", "c", "near"}
    assert _words(_graph([("dog", "cat", "be near")])) == [("dog",), ("cat",), ("dog", "near", "cat")]


def test_agreement_by_hand():
    references = _graph([("dog", "loud"), ("dog",)], [("hound", "cat", "chase"), ("hound",)])
    assert len(references.tuples()) == 4
    caption = _graph([("hound", "noisy"), ("zork",)])  # hound, zork, (hound, noisy): two of three are there
    assert agreement(caption, references) == pytest.approx(2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4))
    assert agreement(_graph([("zork",)]), references) == 0.0
    assert agreement(_graph([]), references) == 0.0
    assert agreement(caption, _graph([])) == 0.0


def test_tuples_of_other_lengths_do_not_agree():
    assert agreement(_graph([("dog", "loud")]), _graph([("dog", "loud", "near")])) == pytest.approx(0.4)


WORDS = st.sampled_from(sorted(SYNSETS))
PROPOSALS = st.lists(st.one_of(st.tuples(WORDS), st.tuples(WORDS, WORDS), st.tuples(WORDS, WORDS, WORDS)), max_size=6)


@given(PROPOSALS.filter(bool))
def test_a_caption_agrees_with_itself_wholly(proposals):
    assert agreement(_graph(proposals), _graph(proposals)) == 1.0


@given(PROPOSALS, st.lists(PROPOSALS, max_size=4))
def test_agreement_is_a_share(caption, references):
    own, others = _graph(caption), _graph(*references)
    score = agreement(own, others)
    assert 0.0 <= score <= 2.0  # over 1 where several of the caption's tuples agree with one of the references'
    assert score == agreement(own, others)


@given(st.lists(WORDS, max_size=8))
def test_a_repeated_caption_adds_no_object(words):
    caption = [(word,) for word in words]
    assert len(_graph(caption, caption).tuples()) == len(_graph(caption).tuples())
