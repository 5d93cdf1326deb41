"""N-grams as integers, so that counting and joining them is numpy's work.

An n-gram's id is its place among the known n-grams of its order, sorted by the pair (id of its first n-1 tokens, id of
its last token). All arrays of one order are parallel: one entry an n-gram position, in the order of the captions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, repeat

import numpy as np
import numpy.typing as npt

Tokens = Sequence[str]
Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

UNKNOWN = -1
_TOKEN_BITS = 32


@dataclass(frozen=True)
class Level:
    """The n-grams of one order in some captions: ``owner`` is the caption's index, ``gram`` the n-gram's id."""

    owner: Integers
    gram: Integers


class NgramTable:
    """The n-grams of orders 1 to ``order`` that occur in some captions."""

    def __init__(self, captions: Sequence[Tokens], order: int) -> None:
        self.order = order
        self.vocabulary = {token: number for number, token in enumerate(dict.fromkeys(chain.from_iterable(captions)))}
        self._keys: list[Integers] = [np.arange(len(self.vocabulary), dtype=np.int64)]
        owner, tokens = _flatten(captions, self.vocabulary)
        starts = np.arange(len(tokens), dtype=np.int64)
        levels = [Level(owner, tokens)]
        for _ in range(1, order):
            starts, keys = _extend(starts, levels[-1].gram, owner, tokens, len(levels))
            known, grams = np.unique(keys, return_inverse=True)
            self._keys.append(known)
            levels.append(Level(owner[starts], grams))
        self.levels = levels

    def sizes(self) -> list[int]:
        """Return the number of known n-grams by order."""
        return [len(keys) for keys in self._keys]

    def encode(self, captions: Sequence[Tokens]) -> list[Level]:
        """Return the n-grams of other captions by order; those not in the table get ids from its size on."""
        strangers = sorted(set(chain.from_iterable(captions)).difference(self.vocabulary))
        vocabulary = self.vocabulary
        if strangers:
            vocabulary = vocabulary | {token: len(vocabulary) + number for number, token in enumerate(strangers)}
        owner, tokens = _flatten(captions, vocabulary)
        starts = np.arange(len(tokens), dtype=np.int64)
        levels = [Level(owner, tokens)]
        for known in self._keys[1:]:
            starts, keys = _extend(starts, levels[-1].gram, owner, tokens, len(levels))
            levels.append(Level(owner[starts], _look_up(known, keys)))
        return levels

    def find(self, captions: Sequence[Tokens]) -> list[Level]:
        """Return those n-grams of other captions that are in the table, by order."""
        owner, tokens = _flatten(captions, self.vocabulary)
        starts = np.flatnonzero(tokens != UNKNOWN)
        levels = [Level(owner[starts], tokens[starts])]
        for known in self._keys[1:]:
            starts, keys = _extend(starts, levels[-1].gram, owner, tokens, len(levels))
            places, hits = search(known, keys)
            starts = starts[hits]
            levels.append(Level(owner[starts], places[hits]))
        return levels

    def spell(self) -> list[list[str]]:
        """Return the n-grams of each order as their tokens with spaces between, in the order of their ids."""
        tokens = list(self.vocabulary)
        spelled = [tokens]
        for keys in self._keys[1:]:
            prefixes = (keys >> _TOKEN_BITS).tolist()
            last = (keys & ((1 << _TOKEN_BITS) - 1)).tolist()
            spelled.append(
                [f"{spelled[-1][prefix]} {tokens[token]}" for prefix, token in zip(prefixes, last, strict=True)]
            )
        return spelled


def _flatten(captions: Sequence[Tokens], vocabulary: dict[str, int]) -> tuple[Integers, Integers]:
    """Return the caption's index and the token's id of every token; that of a stranger is ``UNKNOWN``."""
    lengths = np.fromiter(map(len, captions), dtype=np.int64, count=len(captions))
    ids = map(vocabulary.get, chain.from_iterable(captions), repeat(UNKNOWN))
    tokens = np.fromiter(ids, dtype=np.int64, count=int(lengths.sum()))
    return np.repeat(np.arange(len(captions), dtype=np.int64), lengths), tokens


def _extend(
    starts: Integers, grams: Integers, owner: Integers, tokens: Integers, length: int
) -> tuple[Integers, Integers]:
    """Return starts and keys of the n-grams that are one token longer than those given, of ``length`` tokens."""
    ends = starts + length
    inside = ends < len(tokens)
    inside[inside] = owner[starts[inside]] == owner[ends[inside]]
    return starts[inside], (grams[inside] << _TOKEN_BITS) | tokens[ends[inside]]


def _look_up(known: Integers, keys: Integers) -> Integers:
    """Return the place of each key among the known ones; a new key gets the next free number."""
    places, hits = search(known, keys)
    places[~hits] = len(known) + np.unique(keys[~hits], return_inverse=True)[1]
    return places


def search(known: Integers, keys: Integers) -> tuple[Integers, npt.NDArray[np.bool_]]:
    """Return a place for each key among the known ones, which are sorted, and whether the key stands there."""
    if not len(known):
        return np.zeros(len(keys), dtype=np.int64), np.zeros(len(keys), dtype=np.bool_)
    places = np.minimum(np.searchsorted(known, keys), len(known) - 1).astype(np.int64)
    return places, known[places] == keys
