"""Small files of every kind, and a scene with its lexicon."""

from __future__ import annotations

import pytest
from fusion_eval.schemas import (
    PredictionItem,
    Predictions,
    ReferenceItem,
    References,
    RunCard,
    SceneEvent,
    SceneEvents,
    SceneItem,
)

HASH = "0123456789abcdef" * 4


@pytest.fixture
def references() -> References:
    """Two clips with two references each."""
    return References(
        dataset="demo",
        split="test",
        items=(
            ReferenceItem(id="a", references=("A dog barks.", "A dog is barking twice")),
            ReferenceItem(id="b", references=("Rain falls on a roof", "Heavy rain is falling")),
        ),
    )


@pytest.fixture
def predictions() -> Predictions:
    """A caption for each clip of ``references``."""
    return Predictions(
        dataset="demo",
        split="test",
        system="mine",
        items=(PredictionItem(id="b", caption="rain falls"), PredictionItem(id="a", caption="a dog barks twice")),
    )


@pytest.fixture
def events() -> SceneEvents:
    """The event graphs of ``references``: a dog twice and then a bell, and rain."""
    return SceneEvents(
        dataset="demo",
        split="test",
        lexicon={"dog": ("dog barks", "dog"), "bell": ("bell rings", "bell"), "rain": ("rain falls", "rain")},
        items=(
            SceneItem(
                id="a",
                events=(
                    SceneEvent(sound_class="dog", onset=0.5, offset=1.5, count=2, role="foreground"),
                    SceneEvent(sound_class="bell", onset=3.0, offset=4.0, count=1, role="foreground"),
                ),
                order=((0, 1),),
                combination="seen",
            ),
            SceneItem(
                id="b",
                events=(SceneEvent(sound_class="rain", onset=0.0, offset=8.0, role="background"),),
                combination="held_out",
            ),
        ),
    )


@pytest.fixture
def run_card() -> RunCard:
    """A run card with every field that is always known, and a few others."""
    return RunCard.model_validate(
        {
            "run_id": "scenes-additive-0",
            "created": "2025-01-02T03:04:05Z",
            "command": ["fusion", "train", "scenes"],
            "seed": 0,
            "dataset": {
                "name": "scenes",
                "references_sha256": {"train": HASH},
                "counts_by_status": {"ok": 10, "missing": 0, "corrupt": 1, "too_short": 0},
            },
            "encoder": {"name": "logmel", "weights_sha256": HASH, "preprocessing_sha256": HASH},
            "backbone": {"name": "tiny", "weights_sha256": HASH, "prompt": "Describe the sound."},
            "system": {
                "name": "additive",
                "config": {"placement": "broadcast", "bias": None},
                "sites": [12, 24],
                "final_gates": {"12": 0.3, "24": 0.5},
            },
            "training": {
                "loss_weights": {"xe": 1.0},
                "optimiser": {"name": "AdamW", "settings": {"weight_decay": 0.01}},
                "schedule": {"name": "cosine"},
                "batch_size": 16,
                "accumulation": 1,
                "precision": "fp32",
            },
            "decoding": {"beams": 5, "max_new_tokens": 24, "length_penalty": 1.0},
            "parameters": {"parts": {"projector": 3, "gates": 2}, "total": 5},
            "cost": {"hours": 0.1, "throughput": [{"stage": "train", "clips_per_second": 9.5, "batch_size": 16}]},
            "hardware": {"device": "cpu"},
            "packages": {"python": "3.11.7"},
            "results": [{"split": "test", "condition": "audio", "predictions_sha256": HASH}],
        }
    )
