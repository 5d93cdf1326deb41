"""Repetition and pairs of words that the training captions lack: counted by hand."""

from __future__ import annotations

import pytest
from fusion_eval.metrics.base import Resources, ScoredClips
from fusion_eval.metrics.document_frequency import DocumentFrequency
from fusion_eval.metrics.fluency_proxies import REPETITION, UNSEEN_BIGRAMS, repeats_itself

CAPTIONS = ["a dog barks and a dog barks", "rain falls on a roof", "a dog falls", ""]
TRAINING = [["a dog barks and a bell rings"], ["rain falls on a roof", "rain falls"]]


def clips(**resources):
    return ScoredClips(
        ids=list("wxyz"), captions=CAPTIONS, references=[["a"]] * len(CAPTIONS), resources=Resources(**resources)
    )


def test_a_caption_repeats_itself_where_a_pair_of_words_comes_twice():
    assert repeats_itself(["a", "dog", "and", "a", "dog"])
    assert not repeats_itself(["a", "dog", "and", "a", "cat"])
    assert not repeats_itself([])


def test_repetition_is_the_share_of_such_captions():
    found = REPETITION.compute(clips())
    assert found.per_clip["repetition"] == [1.0, 0.0, 0.0, 0.0]
    assert found.corpus["repetition"] == pytest.approx(1 / 4)


def test_unseen_bigrams_are_those_that_no_training_caption_has():
    corpus = DocumentFrequency.from_references([[text.split() for text in texts] for texts in TRAINING])
    found = UNSEEN_BIGRAMS.compute(clips(document_frequency=corpus))
    # «and a dog» and «dog barks» are known; of «a dog falls», «dog falls» is not.
    assert found.per_clip["unseen_bigrams"] == [0.0, 0.0, 1.0, 0.0]
    assert found.definition["unseen_bigrams"]["corpus_clips"] == len(TRAINING)


def test_unseen_bigrams_without_training_captions_say_how_to_get_them():
    found = UNSEEN_BIGRAMS.compute(clips())
    assert found.corpus == {}
    assert "document-frequency" in found.unavailable["unseen_bigrams"]
