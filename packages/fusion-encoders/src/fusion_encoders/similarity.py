"""What measures how well a text fits a sound: two frozen towers that end in one space.

An implementation names the frozen audio encoder whose cached features its audio side starts from, so that a clip is decoded and
encoded once and the same feature cache serves it: the captioner's own encoder where the two agree, another where they do not
(a model with a tower of its own makes that tower a ``FrozenEncoder``, whose frames are whatever its projection needs: all
frames, or one a window).

Shapes: B clips or texts, T frames, E width of the shared space.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from fusion_encoders.base import FeatureSequence, FrozenEncoder


class AudioTextSimilarity(Protocol):
    """Audio and texts as vectors of unit length in one space; their dot product is the similarity, from -1 to 1.

    Nothing in it trains: embeddings come without a gradient, in float32 on the CPU, and may be used as constants in a loss.

    Attributes:
        name: what it is called in messages and cards.
        width: E.
        encoder: the frozen encoder whose features ``embed_audio`` takes.
    """

    name: str
    width: int
    encoder: FrozenEncoder

    def embed_audio(self, features: FeatureSequence) -> Tensor:
        """Return the unit vectors e_BE of clips, given by their features of ``encoder``."""
        ...

    def embed_text(self, texts: Sequence[str]) -> Tensor:
        """Return the unit vectors e_BE of texts."""
        ...

    def fingerprint(self) -> str:
        """Return one SHA-256 for both towers and everything between a clip or a text and its vector."""
        ...
