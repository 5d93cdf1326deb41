"""Which sound classes a caption names, in which order it says they happen, and how many times.

A class is named by any of its phrases in the lexicon. Phrases are found on tokens, from left to right, the longest
first, so that "a dog barks" is never also "barks".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fusion_eval.errors import DataError
from fusion_eval.tokenize import tokenize

_SENTENCE_END = re.compile(r"(?<=[.!?;])\s+")

# Between two mentions: the second one happens first, at the same time, or strictly later.
_EARLIER = frozenset(["after", "following", "follows", "preceded"])
_TOGETHER = frozenset(["while", "as", "with", "during"])
_LATER = frozenset(["then", "followed", "next", "later", "afterwards", "afterward", "subsequently", "until"])
# "after which", "after a while": what follows is no event, so that "after" means "then", and "before that" the reverse.
_NO_EVENT = frozenset(["which", "that", "this", "it", "while", "moment", "pause", "bit", "time", "second", "seconds"])

# What a word in front of the first mention says of the clause that follows: "before a bell rings, a dog barks".
_OF_MAIN_CLAUSE = {"before": "earlier", "together": "together"}

_NUMBERS = "single one two three four five six seven eight nine ten eleven twelve"
_CARDINALS = {word: max(1, number) for number, word in enumerate(_NUMBERS.split())}
_MULTIPLES = {"once": 1, "twice": 2, "thrice": 3}
_NUMBER_REACH = 3  # tokens between a number and the phrase it belongs to, at most


@dataclass(frozen=True)
class Mention:
    """A phrase of a class in a sentence: the tokens ``start`` to ``end`` - 1."""

    sound_class: str
    start: int
    end: int


@dataclass(frozen=True)
class Sentence:
    """The tokens of a sentence, the classes that it names from left to right, and the tokens before its first comma."""

    tokens: tuple[str, ...]
    mentions: tuple[Mention, ...]
    clause: int

    @property
    def mentions_of_clause(self) -> int:
        """How many mentions lie before the first comma, at least one."""
        return max(1, sum(mention.end <= self.clause for mention in self.mentions))


class Lexicon:
    """The phrases of each class, ready to be found in captions.

    Raises:
        DataError: a phrase has no tokens, or names two classes.
    """

    def __init__(self, phrases: Mapping[str, Sequence[str]]) -> None:
        self._classes: dict[tuple[str, ...], str] = {}
        for sound_class, texts in phrases.items():
            for text in texts:
                self._add(text, sound_class)
        lengths: dict[str, set[int]] = {}
        for tokens in self._classes:
            lengths.setdefault(tokens[0], set()).add(len(tokens))
        self._lengths = {first: sorted(found, reverse=True) for first, found in lengths.items()}

    def _add(self, text: str, sound_class: str) -> None:
        tokens = tuple(tokenize(text))
        if not tokens:
            raise DataError(f"lexicon: phrase '{text}' of class '{sound_class}' has no words; remove it.")
        other = self._classes.setdefault(tokens, sound_class)
        if other != sound_class:
            raise DataError(f"lexicon: phrase '{text}' names both '{other}' and '{sound_class}'; keep one.")

    def parse(self, caption: str) -> list[Sentence]:
        """Return the sentences of a caption with the classes that they name."""
        sentences = []
        for text in _SENTENCE_END.split(caption):
            tokens = tuple(tokenize(text))
            clause = len(tokenize(text.split(",")[0])) if "," in text else 0
            sentences.append(Sentence(tokens, tuple(self._find(tokens)), clause))
        return sentences

    def classes(self, caption: str) -> set[str]:
        """Return the classes that a caption names."""
        return {mention.sound_class for sentence in self.parse(caption) for mention in sentence.mentions}

    def _find(self, tokens: tuple[str, ...]) -> list[Mention]:
        mentions: list[Mention] = []
        start = 0
        while start < len(tokens):
            for length in self._lengths.get(tokens[start], ()):
                sound_class = self._classes.get(tokens[start : start + length])
                if sound_class is not None:
                    mentions.append(Mention(sound_class, start, start + length))
                    break
            start = mentions[-1].end if mentions and mentions[-1].start == start else start + 1
        return mentions


def order_of_classes(sentences: Sequence[Sentence]) -> dict[str, int]:
    """Return when each class first happens, by what the caption says: a smaller number is earlier.

    Classes that happen together have the same number. Without a word of order, what is named first happens first.
    """
    timeline: list[set[str]] = []
    for sentence in sentences:
        timeline += _timeline(sentence)
    ranks: dict[str, int] = {}
    for rank, classes in enumerate(timeline):
        for sound_class in classes:
            ranks.setdefault(sound_class, rank)
    return ranks


def _timeline(sentence: Sentence) -> list[set[str]]:
    """Return the classes of a sentence in groups that happen together, the earliest group first.

    ``begin`` is where the clause that is being read starts in the timeline and ``place`` where its next event goes:
    "after" puts its event in front of the clause, "then" opens a new clause at the end.
    """
    timeline: list[set[str]] = []
    begin = place = 0
    previous_end = 0
    leading = None
    for number, mention in enumerate(sentence.mentions):
        relation = _relation(sentence.tokens[previous_end : mention.start])
        previous_end = mention.end
        if number == 0:
            leading, relation = relation, None
        elif number == sentence.mentions_of_clause and relation is None and leading in _OF_MAIN_CLAUSE:
            relation, begin = _OF_MAIN_CLAUSE[leading], 0
        if relation == "together":
            timeline[place - 1].add(mention.sound_class)
            continue
        if relation == "earlier":
            place = begin
        elif relation in ("before", "later"):
            begin = place = len(timeline)
        timeline.insert(place, {mention.sound_class})
        place += 1
    return timeline


def _relation(gap: Sequence[str]) -> str | None:
    """Return when the mention after the gap happens, by the last word of order in the gap.

    It is "earlier" than, "later" than or "together" with the mention in front of the gap; "before" is "later" with the
    other meaning in front of a first mention; None where no word says so.
    """
    for index in range(len(gap) - 1, -1, -1):
        word = gap[index]
        vague = not _NO_EVENT.isdisjoint(gap[index + 1 :])
        if word in _EARLIER:
            return "later" if vague else "earlier"
        if word == "before":
            return "earlier" if vague else "before"
        if word in _LATER:
            return "later"
        if word in _TOGETHER and not _is_idiom(gap, index):
            return "together"
    return None


def _is_idiom(gap: Sequence[str], index: int) -> bool:
    """Say whether the word belongs to "as well as", which is an "and", or to "after a while"."""
    well = "well" in gap[max(0, index - 1) : index + 2] and gap[index] == "as"
    return well or (gap[index] == "while" and index > 0 and gap[index - 1] == "a")


def numbers_of_classes(sentences: Sequence[Sentence]) -> dict[str, set[int]]:
    """Return the numbers that a caption attaches to each class that it names.

    A cardinal ("three knocks", "a single knock") belongs to the phrase after it, a multiple ("knocks twice", "knocks
    three times") to the phrase before it.
    """
    numbers: dict[str, set[int]] = {}
    for sentence in sentences:
        ends = [0, *(mention.end for mention in sentence.mentions)]
        starts = [*(mention.start for mention in sentence.mentions), len(sentence.tokens)]
        for index, mention in enumerate(sentence.mentions):
            found = numbers.setdefault(mention.sound_class, set())
            found |= _cardinals(sentence.tokens[ends[index] : mention.start])
            found |= _multiples(sentence.tokens[mention.end : starts[index + 1]])
    return numbers


def _cardinals(gap: Sequence[str]) -> set[int]:
    """Return the numbers at the end of the words before a phrase that count it."""
    first = max(0, len(gap) - _NUMBER_REACH)
    found = set()
    for index in range(first, len(gap)):
        number = _cardinal(gap[index])
        if number is not None and not (index + 1 < len(gap) and gap[index + 1] in ("time", "times")):
            found.add(number)
    return found


def _multiples(gap: Sequence[str]) -> set[int]:
    """Return the numbers of times at the start of the words after a phrase."""
    found = set()
    for index, word in enumerate(gap[: _NUMBER_REACH + 1]):
        if word in _MULTIPLES and not (index and gap[index - 1] == "at"):
            found.add(_MULTIPLES[word])
        number = _cardinal(word)
        if number is not None and index + 1 < len(gap) and gap[index + 1] in ("time", "times"):
            found.add(number)
    return found


def _cardinal(word: str) -> int | None:
    return int(word) if word.isascii() and word.isdigit() else _CARDINALS.get(word)
