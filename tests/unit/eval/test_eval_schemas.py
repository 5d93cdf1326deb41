"""Files of the project: canonical bytes, hashes, atomic writes, and one sentence on what is wrong."""

from __future__ import annotations

import hashlib
import json

import pytest
from fusion_eval.errors import DataError
from fusion_eval.schemas import ClipScores, Predictions, References, RunCard, SceneEvents, SceneItem, Scores
from fusion_eval.schemas.run_card import ParameterTable
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError


@pytest.mark.parametrize("name", ["references", "predictions", "events", "run_card"])
def test_a_written_file_reads_back_and_its_bytes_hash_to_the_content(name, request, tmp_path):
    record = request.getfixturevalue(name)
    path = tmp_path / "folder" / "file.json"
    record.write(path)
    assert type(record).read(path) == record
    assert hashlib.sha256(path.read_bytes()).hexdigest() == record.sha256()


def test_the_hash_is_of_the_content_and_not_of_the_layout(predictions, tmp_path):
    path = tmp_path / "p.json"
    content = json.loads(predictions.canonical_bytes())
    path.write_text(json.dumps(dict(reversed(content.items())), indent=7))
    assert Predictions.read(path).sha256() == predictions.sha256()


@given(st.text(min_size=1), st.text())
def test_any_caption_survives_writing(name, caption):
    record = Predictions(dataset="d", split="s", system="x", items=({"id": name, "caption": caption},))
    assert Predictions.model_validate_json(record.canonical_bytes()) == record


def test_the_schema_field_is_written_and_checked(references):
    content = json.loads(references.canonical_bytes())
    assert content["schema"] == "fusion.references/1"
    content["schema"] = "fusion.references/2"
    with pytest.raises(ValidationError, match="schema"):
        References.model_validate(content)


def test_an_unknown_value_of_the_run_card_is_absent_and_a_setting_that_is_none_stays(run_card):
    content = json.loads(run_card.canonical_bytes())
    assert "git_commit" not in content
    assert content["system"]["config"] == {"placement": "broadcast", "bias": None}
    assert content["system"]["final_gates"] == {"12": 0.3, "24": 0.5}
    assert RunCard.model_validate(content).system.final_gates == {12: 0.3, 24: 0.5}


def test_records_are_frozen(references):
    with pytest.raises(ValidationError):
        references.dataset = "other"


def test_a_total_that_is_not_the_sum_is_refused():
    with pytest.raises(ValidationError, match="sum of the parts"):
        ParameterTable(parts={"a": 1, "b": 2}, total=4)


def test_the_values_of_a_clip_are_numbers_by_metric():
    assert ClipScores(id="a", cider_d=1.5).values == {"cider_d": 1.5}
    with pytest.raises(ValidationError):
        ClipScores(id="a", cider_d="much")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_refused(value):
    with pytest.raises(ValidationError):
        ClipScores(id="a", cider_d=value)


def test_a_setting_that_json_cannot_hold_is_refused(run_card):
    system = run_card.system.model_copy(update={"config": {"rate": float("nan")}})
    with pytest.raises(DataError, match="RunCard"):
        run_card.model_copy(update={"system": system}).canonical_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"onset": 2.0, "offset": 2.0}, "not after onset"),
        ({"onset": -1.0}, "greater than or equal to 0"),
        ({"count": 0}, "greater than or equal to 1"),
        ({"role": "middle"}, "background"),
    ],
)
def test_an_impossible_event_is_refused(change, message):
    event = {"sound_class": "dog", "onset": 1.0, "offset": 2.0, "role": "foreground"} | change
    with pytest.raises(ValidationError, match=message):
        SceneItem(id="a", events=(event,), combination="seen")


@pytest.mark.parametrize("pair", [(0, 1), (0, 0)])
def test_an_order_of_events_that_are_not_there_is_refused(pair):
    event = {"sound_class": "dog", "onset": 1.0, "offset": 2.0, "role": "foreground"}
    with pytest.raises(ValidationError, match="order pair"):
        SceneItem(id="a", events=(event,), order=(pair,), combination="seen")


def test_a_class_without_a_phrase_is_refused(events):
    content = json.loads(events.canonical_bytes())
    del content["lexicon"]["bell"]
    with pytest.raises(ValidationError, match="class 'bell' of item 'a'"):
        SceneEvents.model_validate(content)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "not a JSON file"),
        ("[]", "should be an object"),
        ('{"dataset": "d", "split": "s", "system": "x", "items": [{"id": "a"}]}', "items.0.caption is missing"),
        ('{"dataset": "d", "split": "s", "system": "x", "items": [], "extra": 1}', "field extra is unknown"),
        ('{"dataset": "d", "split": "s", "items": [{"id": "", "caption": ""}]}', "(1 more like this)"),
        ('{"dataset": "d", "split": "s", "system": "x", "items": [], "references_sha256": "z"}', "references_sha256"),
    ],
)
def test_a_malformed_file_is_refused_in_one_sentence_with_file_and_field(content, sentence, tmp_path):
    path = tmp_path / "p.json"
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        Predictions.read(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert sentence in message
    assert "\n" not in message
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("kind", ["absent", "folder"])
def test_a_file_that_cannot_be_read_is_named(kind, tmp_path):
    path = tmp_path if kind == "folder" else tmp_path / "none.json"
    with pytest.raises(DataError, match=str(path)):
        Scores.read(path)
