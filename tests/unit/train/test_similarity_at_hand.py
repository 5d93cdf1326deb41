"""Which similarity measures a run's candidates: trained heads first, then the text tower that an encoder comes with."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fusion_core.errors import MissingAssetError
from fusion_encoders.logmel import LogMelEncoder
from fusion_encoders.registry import SIMILARITIES
from fusion_train import audio_text
from fusion_train.audio_text import similarity_at_hand


class Measure:
    """A similarity whose text tower may be missing."""

    def __init__(self, encoder: Any) -> None:
        self.encoder = encoder

    def embed_text(self, texts: list[str]) -> torch.Tensor:
        if self.encoder.name == "without-tokenizer":
            raise MissingAssetError("the tokenizer is missing")
        return torch.ones(len(texts), 1)


class Encoder(LogMelEncoder):
    name = "with-text"


@pytest.fixture
def heads(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    found: dict[str, Any] = {"heads": None}
    monkeypatch.setattr(audio_text, "find_similarity", lambda *_: found["heads"])
    monkeypatch.setattr(
        SIMILARITIES, "_builtin", dict.fromkeys(("with-text", "without-tokenizer"), f"{__name__}:Measure")
    )
    monkeypatch.setattr(SIMILARITIES, "load", lambda name: Measure)
    return found


def test_heads_come_first_then_the_encoder_s_own_text_tower(heads: dict[str, Any]) -> None:
    encoder = Encoder()
    own = similarity_at_hand(None, encoder)  # type: ignore[arg-type]
    assert isinstance(own, Measure)
    assert own.encoder is encoder
    heads["heads"] = trained = object()
    assert similarity_at_hand(None, encoder) is trained  # type: ignore[arg-type, comparison-overlap]


def test_without_either_nothing_measures(heads: dict[str, Any]) -> None:
    assert similarity_at_hand(None, LogMelEncoder()) is None  # type: ignore[arg-type]
    incomplete = Encoder()
    incomplete.name = "without-tokenizer"
    assert similarity_at_hand(None, incomplete) is None  # type: ignore[arg-type]
