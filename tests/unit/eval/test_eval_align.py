"""Joining by id: whatever does not fit is named and refused."""

from __future__ import annotations

import pytest
from fusion_eval.align import align
from fusion_eval.errors import DataError
from fusion_eval.schemas import PredictionItem, ReferenceItem


def _with(file, *items):
    return file.model_copy(update={"items": items})


def _captions(*pairs):
    return tuple(PredictionItem(id=name, caption=text) for name, text in pairs)


def test_captions_come_in_the_order_of_the_references(predictions, references, events):
    clips = align(predictions, references, events).clips
    assert clips.ids == ["a", "b"]
    assert clips.captions == ["a dog barks twice", "rain falls"]
    assert [scene.id for scene in clips.scenes] == ["a", "b"]
    assert clips.caption_tokens[1] == ["rain", "falls"]
    assert clips.reference_tokens[0][0] == ["a", "dog", "barks"]


@pytest.mark.parametrize(
    ("captions", "message"),
    [
        ([("a", "x")], "predictions: id 'b' is missing; .*--allow-missing"),
        ([("a", "x"), ("b", "x"), ("c", "x")], "predictions: id 'c' is not in the references"),
        ([("a", "x"), ("b", "x"), ("a", "y")], "predictions: id 'a' is there more than once"),
        ([], r"predictions: 2 ids \('a', 'b'\) are missing"),
    ],
)
def test_ids_that_do_not_fit_are_named(captions, message, predictions, references):
    with pytest.raises(DataError, match=message):
        align(_with(predictions, *_captions(*captions)), references)


def test_of_many_ids_the_first_are_named(predictions, references):
    captions = _captions(("a", ""), ("b", ""), *((f"x{number}", "") for number in range(9)))
    with pytest.raises(DataError, match=r"9 ids \('x0', 'x1', 'x2', 'x3', 'x4', …\) are not in the references"):
        align(_with(predictions, *captions), references)


def test_a_missing_clip_is_allowed_when_asked_and_an_extra_one_never(predictions, references):
    alignment = align(_with(predictions, *_captions(("b", "rain"))), references, allow_missing=True)
    assert alignment.missing == ("a",)
    assert alignment.clips.captions == ["", "rain"]
    with pytest.raises(DataError, match="'c' is not in the references"):
        align(_with(predictions, *_captions(("c", "rain"))), references, allow_missing=True)


def test_references_must_be_there_once(predictions, references):
    item = ReferenceItem(id="a", references=("x",))
    with pytest.raises(DataError, match="references: id 'a' is there more than once"):
        align(predictions, _with(references, item, item))
    with pytest.raises(DataError, match="no items"):
        align(predictions, _with(references))


def test_event_graphs_must_cover_the_references_and_may_hold_more(predictions, references, events):
    with pytest.raises(DataError, match="events: id 'b' is missing"):
        align(predictions, references, _with(events, events.items[0]))
    few = _with(references, references.items[1])
    assert align(_with(predictions, predictions.items[0]), few, events).clips.scenes == [events.items[1]]


def test_files_of_other_splits_are_refused(predictions, references, events):
    with pytest.raises(DataError, match="predictions: dataset and split are 'demo' and 'val'"):
        align(predictions.model_copy(update={"split": "val"}), references)
    with pytest.raises(DataError, match="events: dataset and split are 'other' and 'test'"):
        align(predictions, references, events.model_copy(update={"dataset": "other"}))


def test_predictions_for_other_references_are_refused(predictions, references):
    align(predictions.model_copy(update={"references_sha256": references.sha256()}), references)
    with pytest.raises(DataError, match="references_sha256 is 000000000000…"):
        align(predictions.model_copy(update={"references_sha256": "0" * 64}), references)
