"""Captions: their length, that they say what is in the scene and nothing else, and how far annotators agree."""

from __future__ import annotations

import pytest
from fusion_core.errors import DataError
from fusion_eval.metrics.mentions import Lexicon, numbers_of_classes, order_of_classes
from fusion_eval.schemas import ReferenceItem, References
from fusion_train.datasets.scenes.annotate import MAXIMUM_WORDS, MINIMUM_WORDS, POLICIES, annotate
from fusion_train.datasets.scenes.bank import VOICES, SynthesisedBank
from fusion_train.datasets.scenes.graph import PlannedEvent, Scene, Source
from fusion_train.datasets.scenes.leakage import agreement, rouge_l, words
from fusion_train.datasets.scenes.options import ScenesOptions
from fusion_train.datasets.scenes.plan import Planner
from fusion_train.datasets.scenes.vocabulary import Phrase, known_sounds, lexicon, sound

NAMES = [policy.__name__ for policy in POLICIES]
COMPLETE = ("full_order", "noun_phrase")


@pytest.fixture(scope="module")
def captioned() -> list[tuple[Scene, tuple[str, ...]]]:
    plans = Planner(ScenesOptions(), SynthesisedBank(44_100, 0)).plan()
    return [(scene, annotate(scene, 0)) for scene in [*plans["train"][:400], *plans["test"]]]


@pytest.fixture(scope="module")
def reader() -> Lexicon:
    return Lexicon(lexicon(VOICES))


def test_captions_have_8_to_14_words(captioned: list[tuple[Scene, tuple[str, ...]]]) -> None:
    for _, captions in captioned:
        assert len(captions) == 5
        for caption in captions:
            assert MINIMUM_WORDS <= len(caption.split()) <= MAXIMUM_WORDS, caption
            assert caption[0].isupper()
            assert caption.endswith(".")
            assert "  " not in caption


def test_captions_name_what_sounds_and_nothing_else(
    captioned: list[tuple[Scene, tuple[str, ...]]], reader: Lexicon
) -> None:
    for scene, captions in captioned:
        heard = {event.sound_class for event in scene.events}
        for policy, caption in zip(NAMES, captions, strict=True):
            named = reader.classes(caption)
            assert named <= heard, caption
            assert policy not in COMPLETE or named == heard, caption
            assert policy != "salient_only" or named == {scene.salient.sound_class}, caption


def test_captions_tell_the_order_and_the_counts_rightly(
    captioned: list[tuple[Scene, tuple[str, ...]]], reader: Lexicon
) -> None:
    counted = 0
    for scene, captions in captioned:
        counts = {event.sound_class: event.count for event in scene.events}
        for policy, caption in zip(NAMES, captions, strict=True):
            sentences = reader.parse(caption)
            ranks = order_of_classes(sentences)
            if policy in COMPLETE:
                assert all(ranks[first] < ranks[second] for first, second in scene.class_pairs), caption
            for name, numbers in numbers_of_classes(sentences).items():
                assert numbers <= {counts[name]}, caption
                counted += len(numbers)
    assert counted > 200


def test_generic_captions_hide_one_class(captioned: list[tuple[Scene, tuple[str, ...]]], reader: Lexicon) -> None:
    for scene, captions in captioned:
        named = reader.classes(captions[NAMES.index("generic_word")])
        foreground = {event.sound_class for event in scene.foreground}
        assert len(named & foreground) == min(1, len(foreground) - 1)


def test_captions_depend_on_the_seed_and_the_scene_alone(captioned: list[tuple[Scene, tuple[str, ...]]]) -> None:
    scene, captions = captioned[0]
    assert annotate(scene, 0) == captions
    assert annotate(scene, 1) != captions


def test_annotators_agree_about_as_much_as_people(captioned: list[tuple[Scene, tuple[str, ...]]]) -> None:
    items = tuple(ReferenceItem(id=scene.id, references=captions) for scene, captions in captioned[-160:])
    measured = agreement(References(dataset="scenes", split="test", items=items))
    assert measured["own_clip"] == pytest.approx(0.47, abs=0.04)
    assert measured["random_clip"] == pytest.approx(0.19, abs=0.04)


def test_people_agree_as_the_definition_says(shared: object) -> None:
    import csv
    from pathlib import Path

    path = Path(str(shared)) / "data" / "aac" / "clotho" / "clotho_captions_validation.csv"
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream))[1:]
    items = tuple(ReferenceItem(id=row[0], references=tuple(row[1:6])) for row in rows)
    measured = agreement(References(dataset="clotho", split="val", items=items))
    assert measured["own_clip"] == pytest.approx(0.49, abs=0.03)
    assert measured["random_clip"] == pytest.approx(0.185, abs=0.02)


def test_every_class_has_four_to_six_phrases_that_name_it_alone() -> None:
    entries = lexicon(known_sounds())
    reader = Lexicon(entries)
    for name in known_sounds():
        entry = sound(name)
        assert 4 <= len(entry.phrases) <= 6
        assert min(phrase.words for phrase in entry.phrases) <= 4
        assert all(len(phrase.progressive.split()) > 1 for phrase in entry.phrases)
        assert all(reader.classes(phrase) == {name} for phrase in entries[name])
        vague = entry.generic
        for text in (vague.finite, vague.ongoing, vague.participle, *entry.details):
            assert not reader.classes(text), f"{name}: «{text}» names a class"
        assert not any(" with " in f" {detail} " for detail in entry.details), "«with» would say «at the same time»"


def test_forms_of_a_phrase() -> None:
    phrase = Phrase.parse("a dog | barks | is barking")
    assert (phrase.finite, phrase.ongoing, phrase.participle, phrase.headline) == (
        "a dog barks",
        "a dog is barking",
        "a dog barking",
        "dog barking",
    )
    assert phrase.entries == ("dog barks", "dog is barking", "dog barking")


def test_unknown_classes_are_named_by_their_labels() -> None:
    entry = sound("Typing on a Keyboard!")
    assert entry.kind == "sustained"
    assert entry.phrases[0].finite == "typing on a keyboard is heard"
    reader = Lexicon(lexicon(["Typing on a Keyboard!", "rain"]))
    assert reader.classes("Typing on a keyboard is heard as rain falls.") == {"Typing on a Keyboard!", "rain"}


def test_labels_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(DataError, match="cannot be told apart"):
        lexicon(["typing", "fast typing"])


def test_labels_too_long_for_a_caption_are_refused() -> None:
    source = Source(" ".join(["long"] * 14), None, 0.5, False, {})
    event = PlannedEvent(source, "foreground", 1.0, 3.0, 10.0)
    scene = Scene("x", "train", 0, 6.0, (event,), "seen")
    with pytest.raises(DataError, match="shorten the labels"):
        annotate(scene, 0)


def test_rouge_l_by_hand() -> None:
    # LCS of «a dog barks twice» and «a dog runs and barks» is 3: P 3/4, R 3/5; the second reference gives P 1/4, R 1/2.
    candidate = words("A dog barks twice.")
    references = [words("a dog runs and barks"), words("twice told")]
    precision, recall = 3 / 4, 3 / 5
    expected = (1 + 1.2**2) * precision * recall / (recall + 1.2**2 * precision)
    assert rouge_l(candidate, references) == pytest.approx(expected)
    assert rouge_l(candidate, [candidate]) == 1
    assert rouge_l(candidate, [words("nothing in common")]) == 0
