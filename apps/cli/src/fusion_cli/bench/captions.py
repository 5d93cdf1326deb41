"""The captions that metrics are timed on: those of AudioCaps, or made ones of the same numbers and lengths."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Annotated, Any

import typer

CaptionsFolder = Annotated[
    Path | None, typer.Option(help="Folder with AudioCaps' test.csv and train.csv; without it captions are made.")
]
CLIPS, REFERENCES, TRAIN = 975, 5, 49_838
BATCH, SAMPLES = 64, 5
_VOCABULARY = 1600
_WORDS = 10  # of a caption, on average


@dataclass(frozen=True)
class BenchCaptions:
    """What every tool is timed on.

    Args:
        source: where the captions come from, in words.
        captions: one a clip.
        references: those of each clip.
        train: the references of each training clip, of which the document frequencies are.
        samples: captions as a policy samples them, to be rewarded.
        clips: the training clip of each sample.
    """

    source: str
    captions: list[str]
    references: list[list[str]]
    train: list[list[str]]
    samples: list[str]
    clips: list[int]

    def to_json(self) -> dict[str, Any]:
        """Return the content as JSON holds it."""
        return asdict(self)


def read_captions(folder: Path) -> BenchCaptions:
    """Return the test captions of AudioCaps, with the training captions for document frequencies.

    Raises:
        DataError: test.csv or train.csv is absent or of another kind.
    """
    from fusion_eval.readers import read_references

    test, train = (read_references(folder / f"{name}.csv") for name in ("test", "train"))
    return _with_samples(
        "AudioCaps test.csv and train.csv",
        [list(item.references) for item in test.items],
        [list(item.references) for item in train.items],
    )


def make_captions(seed: int = 0) -> BenchCaptions:
    """Return made captions: words of a made vocabulary by Zipf's law, as many and as long as those of AudioCaps."""
    generator = random.Random(seed)
    letters = "bcdfghklmnprstvw"
    words = [
        "".join(generator.choice(letters) + generator.choice("aeiou") for _ in range(generator.randint(1, 4)))
        for _ in range(_VOCABULARY)
    ]
    weights = list(accumulate(1 / rank for rank in range(1, _VOCABULARY + 1)))

    def write() -> str:
        length = generator.randint(_WORDS // 2, _WORDS * 3 // 2)
        return " ".join(generator.choices(words, cum_weights=weights, k=length))

    return _with_samples(
        "made captions of AudioCaps' numbers and lengths",
        [[write() for _ in range(REFERENCES)] for _ in range(CLIPS)],
        [[write()] for _ in range(TRAIN)],
    )


def _with_samples(source: str, references: list[list[str]], train: list[list[str]]) -> BenchCaptions:
    """Add captions that share some of their words with a reference, as those of a system do."""
    generator = random.Random(0)
    clips = generator.sample(range(len(train)), BATCH)
    return BenchCaptions(
        source,
        captions=[_vary(texts, references, generator) for texts in references],
        references=references,
        train=train,
        samples=[_vary(train[clip], train, generator) for clip in clips for _ in range(SAMPLES)],
        clips=[clip for clip in clips for _ in range(SAMPLES)],
    )


def _vary(texts: Sequence[str], others: Sequence[Sequence[str]], generator: random.Random) -> str:
    """Return a reference of the clip whose end is that of another clip's reference."""
    own, other = generator.choice(texts).split(), generator.choice(others[generator.randrange(len(others))]).split()
    cut = generator.randint(len(own) // 2, len(own))
    return " ".join(own[:cut] + other[cut:])
