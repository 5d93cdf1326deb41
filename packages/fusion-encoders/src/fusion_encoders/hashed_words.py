"""Hashed words: a text encoder without weights, for the tiny tier and for tests.

Each word and each pair of neighbouring words adds +1 or -1 at a place that its hash decides ("feature hashing": K. Weinberger et
al., "Feature Hashing for Large Scale Multitask Learning", ICML 2009). It knows which words two texts share and no synonyms.

Shapes: N texts, A width.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator, Sequence

import torch
from fusion_core.errors import ConfigError
from torch import Tensor
from torch.nn import functional

from fusion_encoders.base import sha256_of_settings
from fusion_encoders.text import FrozenTextEncoder

_WORD = re.compile(r"\w+")


class HashedWordsEncoder(FrozenTextEncoder):
    """Signed counts of hashed words and word pairs, scaled to unit length; a text without a word is all zeros.

    Raises:
        ConfigError: ``width`` is not a positive whole number.
    """

    name = "hashed-words"

    def __init__(self, width: int = 512) -> None:
        if width < 1:
            raise ConfigError(f"text encoder hashed-words needs a width above 0, not {width}")
        self.width = width
        self.weights_sha256 = sha256_of_settings({"weights": None})
        self.preprocessing_sha256 = sha256_of_settings({"width": width, "features": "words and pairs", "version": 1})

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Return the embeddings t_NA of texts."""
        counts_NA = torch.zeros(len(texts), self.width)
        for row_A, text in zip(counts_NA, texts, strict=True):
            for feature in _features(text):
                digest = int.from_bytes(hashlib.blake2b(feature.encode(), digest_size=8).digest(), "little")
                row_A[(digest >> 1) % self.width] += 1 if digest & 1 else -1
        return functional.normalize(counts_NA, dim=1)


def _features(text: str) -> Iterator[str]:
    words = _WORD.findall(text.lower())
    yield from words
    yield from (f"{first} {second}" for first, second in itertools.pairwise(words))
