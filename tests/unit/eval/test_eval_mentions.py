"""What a caption names, in which order and how often."""

from __future__ import annotations

import pytest
from fusion_eval.errors import DataError
from fusion_eval.metrics.mentions import Lexicon, numbers_of_classes, order_of_classes

LEXICON = Lexicon(
    {
        "dog": ("a dog barks", "dog barks", "dog barking", "dog"),
        "bell": ("bell rings", "bell", "bells"),
        "siren": ("siren wails", "siren"),
        "rain": ("rain falling", "rain"),
        "knock": ("knock", "knocks", "knocking"),
        "dog door": ("dog door",),
    }
)


@pytest.mark.parametrize(
    ("caption", "classes"),
    [
        ("A DOG barks!", {"dog"}),
        ("an animal makes a sound", set()),
        ("the dog door and a bell", {"dog door", "bell"}),
        ("a dog; rain", {"dog", "rain"}),
        ("hotdogs and doorbells", set()),
        ("", set()),
    ],
)
def test_classes_are_named_by_whole_phrases_the_longest_first(caption, classes):
    assert LEXICON.classes(caption) == classes


def test_a_phrase_of_two_classes_or_without_words_is_refused():
    with pytest.raises(DataError, match="names both 'dog' and 'wolf'"):
        Lexicon({"dog": ("howling",), "wolf": ("Howling.",)})
    with pytest.raises(DataError, match="has no words"):
        Lexicon({"dog": ("...",)})


@pytest.mark.parametrize(
    "caption",
    [
        "a dog barks and a bell rings",
        "dog, bell",
        "a dog barks, then a bell rings",
        "a dog barks followed by a bell",
        "a dog barks before a bell rings",
        "a bell rings after a dog barks",
        "a bell, after a dog barks",
        "a bell rings following a dog barking",
        "a bell preceded by a dog barking",
        "a bell follows a dog",
        "After a dog barks, a bell rings",
        "Before a bell rings, a dog barks",
        "Then a dog barks and a bell rings",
        "a dog barks, after which a bell rings",
        "a dog barks and after a while a bell rings",
        "a dog barks, and after that a bell rings",
        "a bell rings but before that a dog barks",
        "a dog as well as a bell",
        "A dog barks. After rain, a bell rings.",
        "a dog barks with rain falling, then a bell rings",
        "while rain is falling a dog barks, followed by a bell",
        "a dog barks until a bell rings",
    ],
)
def test_a_dog_and_then_a_bell(caption):
    ranks = order_of_classes(LEXICON.parse(caption))
    assert ranks["dog"] < ranks["bell"]


@pytest.mark.parametrize(
    "caption",
    [
        "a dog barks while a bell rings",
        "while a dog barks, a bell rings",
        "a dog barks as a bell rings",
        "a dog with a bell",
        "a bell during a dog barking",
    ],
)
def test_a_dog_and_a_bell_together(caption):
    ranks = order_of_classes(LEXICON.parse(caption))
    assert ranks["dog"] == ranks["bell"]


@pytest.mark.parametrize(
    ("caption", "order"),
    [
        ("a bell rings after a dog barks, then a siren", ["dog", "bell", "siren"]),
        ("a siren after a dog and a bell", ["dog", "bell", "siren"]),
        ("a dog and a bell after a siren", ["siren", "dog", "bell"]),
        ("a dog, then a bell after a siren", ["dog", "siren", "bell"]),
        ("before a bell and a siren, a dog barks", ["dog", "bell", "siren"]),
        ("before a bell then a siren, a dog barks", ["dog", "bell", "siren"]),
        ("a dog and a bell before a siren and rain", ["dog", "bell", "siren", "rain"]),
        ("a dog, a bell, a dog", ["dog", "bell"]),
    ],
)
def test_the_order_of_more_than_two(caption, order):
    ranks = order_of_classes(LEXICON.parse(caption))
    assert sorted(ranks, key=ranks.__getitem__) == order
    assert len(set(ranks.values())) == len(order)


@pytest.mark.parametrize(
    ("caption", "numbers"),
    [
        ("three knocks", {"knock": {3}}),
        ("a single knock", {"knock": {1}}),
        ("2 loud sharp knocks", {"knock": {2}}),
        ("a bell rings twice", {"bell": {2}}),
        ("a bell rings loudly three times", {"bell": {3}}),
        ("a dog barks once and two bells", {"dog": {1}, "bell": {2}}),
        ("a dog barks three times, then knocks", {"dog": {3}, "knock": set()}),
        ("a knock", {"knock": set()}),
        ("two or three knocks", {"knock": {2, 3}}),
        ("a dog and a bell at once", {"dog": set(), "bell": set()}),
        ("twelve very very very loud knocks", {"knock": set()}),
    ],
)
def test_numbers_belong_to_their_phrase(caption, numbers):
    assert numbers_of_classes(LEXICON.parse(caption)) == numbers
