"""The model card: metadata that a hub can read, and the numbers of the run card."""

from __future__ import annotations

import yaml
from fusion_eval.schemas import RunCard, Scores
from fusion_train.model_card import render_model_card

HASH = "0" * 64


def run_card(**changes: object) -> RunCard:
    content = {
        "run_id": "scenes-additive-7",
        "created": "2025-01-02T03:04:05Z",
        "command": ["fusion", "train", "scenes", "--seed", "7"],
        "seed": 7,
        "dataset": {"name": "scenes", "references_sha256": {}, "counts_by_status": {"ok": 10}},
        "encoder": {"name": "aisfx", "weights_sha256": HASH, "preprocessing_sha256": HASH},
        "backbone": {"name": "smollm2-135m", "weights_sha256": "a" * 64, "prompt": "Describe the sound."},
        "system": {
            "name": "additive",
            "config": {},
            "final_gates": {"12": 0.31, "24": 0.52},
            "addition_ratio": {"12": 0.25},
        },
        "training": {
            "loss_weights": {"xe": 1.0},
            "optimiser": {"name": "AdamW"},
            "schedule": {"name": "cosine to 0"},
            "batch_size": 16,
            "accumulation": 2,
            "precision": "bfloat16",
            "steps": 120,
            "best_step": 60,
            "selection_metric": "cider_d of val",
        },
        "decoding": {"beams": 5, "max_new_tokens": 20, "length_penalty": 1.0},
        "parameters": {"parts": {"projector": 900000, "gates": 2}, "total": 900002, "ratio_to_reference": 1.04},
        "cost": {"hours": 0.1},
        "hardware": {"device": "cpu"},
        "packages": {},
        **changes,
    }
    return RunCard.model_validate(content)


def scores(**metrics: float) -> Scores:
    return Scores.model_validate(
        {
            "dataset": "scenes",
            "split": "test",
            "system": "additive",
            "predictions_sha256": HASH,
            "references_sha256": HASH,
            "n": 2,
            "metrics": metrics,
            "oracle": ["cider_d_max"],
            "per_clip": [],
            "definition": {},
            "tools": {},
        }
    )


def split(text: str) -> tuple[dict[str, object], str]:
    assert text.startswith("---\n")
    _, header, body = text.split("---\n", 2)
    return yaml.safe_load(header), body


def test_the_header_is_yaml_with_what_was_scored_on_the_right_audio():
    found = {"audio": scores(cider_d=0.49812, cider_d_max=0.9), "shuffled": scores(cider_d=0.1)}
    metadata, body = split(render_model_card(run_card(), found))
    assert metadata["library_name"] == "fusion"
    assert metadata["tags"] == ["audio-captioning", "fusion", "additive"]
    assert (metadata["base_model"], metadata["datasets"]) == ("smollm2-135m", ["scenes"])
    (result,) = metadata["model-index"][0]["results"]
    assert result["metrics"] == [{"type": "cider_d", "value": 0.4981}]  # what an oracle chose is no result
    assert result["dataset"] == {"type": "scenes", "name": "scenes", "split": "test"}
    assert "| condition | cider_d | cider_d_max |" in body
    assert "| audio | 0.498 | 0.900 |" in body
    assert "| shuffled | 0.100 |  |" in body


def test_the_body_tells_how_to_use_it_and_what_was_trained():
    _, body = split(render_model_card(run_card(), {}))
    for line in (
        "# scenes-additive-7",
        '    backbone = load_backbone("smollm2-135m")',
        "- 120 steps of 32 clips in 6.0 minutes on cpu; the weights of step 60 were kept, by cider_d of val",
        "- command: `fusion train scenes --seed 7`",
        "| total | 900,002 |",
        "1.04 times the parameters of the additive system that sizes are matched to.",
        "| 12 | 0.310 | 0.250 |",
        "| 24 | 0.520 |  |",
    ):
        assert line in body.splitlines(), line
    assert "hears through the frozen encoder aisfx" in body
    assert "Not scored." in body


def test_a_system_without_audio_says_so():
    card = run_card(encoder=None, system={"name": "data-only", "config": {}})
    metadata, body = split(render_model_card(card, {}))
    assert "model-index" not in metadata
    assert "It has no audio path." in body
    assert "| site |" not in body
