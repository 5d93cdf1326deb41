"""Measure what the test set shares with train, and how far the annotators agree.

Agreement: ROUGE-L (Lin, 2004, β = 1.2, as coco-caption scores it) of each reference against the others of its clip, and
against those of a random other clip. On Clotho people agree by 0.48 and 0.18 (validation), 0.51 and 0.19 (evaluation),
measured by this function.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from fusion_eval.schemas import References
from fusion_train.datasets.scenes.graph import Scene, class_sequence

BETA = 1.2
CLIPS = 200
"""Agreement is measured on this many clips at most."""


def leakage(train: Sequence[Scene], test: Sequence[Scene], references: Sequence[References]) -> dict[str, float]:
    """Return the shares of test graphs and of test references that occur in train.

    ``graphs``: classes, counts and order. ``sequences``: background and classes in order, counts or not.
    ``references``: captions, letter by letter but for case and punctuation.
    """
    by_split = {file.split: [words(text) for item in file.items for text in item.references] for file in references}
    return {
        "graphs": share((scene.graph() for scene in test), (scene.graph() for scene in train)),
        "sequences": share(map(_sequence, test), map(_sequence, train)),
        "references": share(by_split["test"], by_split["train"]),
    }


def agreement(references: References, seed: int = 0) -> dict[str, float]:
    """Return the mean ROUGE-L of a reference with those of its own clip and with those of a random other clip."""
    generator = np.random.default_rng(seed)
    clips = [[words(text) for text in item.references] for item in references.items]
    own, other = [], []
    for number in range(min(len(clips), CLIPS)):
        stranger = (number + 1 + generator.integers(len(clips) - 1)) % len(clips)
        for place, caption in enumerate(clips[number]):
            own.append(rouge_l(caption, [*clips[number][:place], *clips[number][place + 1 :]]))
            other.append(rouge_l(caption, clips[stranger]))
    return {"own_clip": float(np.mean(own)), "random_clip": float(np.mean(other))}


def words(text: str) -> tuple[str, ...]:
    """Return the words of a caption, in lower case and without punctuation."""
    return tuple(re.findall(r"[a-z0-9']+", text.lower()))


def share(items: Iterable[Hashable], stock: Iterable[Hashable]) -> float:
    """Return the share of the items that occur in a stock; 0 where there are none."""
    known = set(stock)
    found = [item in known for item in items]
    return float(np.mean(found)) if found else 0.0


def rouge_l(candidate: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return ROUGE-L with the best precision and the best recall over the references."""
    lengths = [(_common(candidate, reference), len(reference)) for reference in references]
    precision = max(common / len(candidate) for common, _ in lengths)
    recall = max(common / length for common, length in lengths)
    if precision * recall == 0:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def _common(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence."""
    row = [0] * (len(second) + 1)
    for word in first:
        diagonal = 0
        for place, other in enumerate(second, 1):
            diagonal, row[place] = row[place], diagonal + 1 if word == other else max(row[place], row[place - 1])
    return row[-1]


def _sequence(scene: Scene) -> str:
    background = scene.background
    names = tuple(event.sound_class for event in scene.foreground)
    return class_sequence(background.sound_class if background else None, names)
