"""Which scenes a split may have: held-out ordered pairs of classes, and sequences that belong to one split alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from fusion_train.datasets.scenes.graph import ClassPair
from fusion_train.datasets.scenes.options import Split

HELD_OUT_SHARE = 0.2
"""The share of ordered class pairs that never occur in train or val."""

SEQUENCE_SHARES: tuple[tuple[Split, float], ...] = (("train", 0.7), ("val", 0.1), ("test", 0.2))
"""Which share of all class sequences (background and foreground classes in order) each split owns."""


def held_out_pairs(classes: Sequence[str], seed: int) -> frozenset[ClassPair]:
    """Return the ordered pairs of classes that are held out of train and val.

    The classes are put on a ring in random order, and whole diagonals (each class with the one k places on) are held out,
    so that every class leads and follows in equally many pairs, but for one at most.
    """
    generator = np.random.default_rng([seed, len(classes), 20])
    ring = [classes[place] for place in generator.permutation(len(classes))]
    distances = generator.permutation(np.arange(1, len(ring)))
    pairs = [(ring[i], ring[(i + distance) % len(ring)]) for distance in distances for i in range(len(ring))]
    return frozenset(pairs[: round(HELD_OUT_SHARE * len(pairs))])


def owner(sequence: str, seed: int) -> Split:
    """Return the one split that may use a class sequence; decided by a hash, so it needs no list and leaks nothing."""
    digest = hashlib.sha256(f"{seed}:{sequence}".encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    for split, share in SEQUENCE_SHARES:
        position -= share
        if position < 0:
            return split
    return SEQUENCE_SHARES[-1][0]
