"""The methods appendix: everything that a reader needs, from the run card and the scores."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fusion_eval.errors import DataError
from fusion_eval.schemas import RunCard, Scores
from fusion_report.methods import methods_sections, render_methods

HASH = "ab" * 32


def heard(encoder: str) -> tuple[str, ...]:
    return (f"{encoder} hears at 48,000 Hz.",)


def write_run(folder: Path, encoder: bool = True, **changes: Any) -> Path:
    card = {
        "run_id": "run",
        "created": datetime.now(UTC),
        "command": ["fusion", "train", "audiocaps", "--system", "additive"],
        "seed": 2,
        "dataset": {
            "name": "audiocaps",
            "references_sha256": {"test": HASH},
            "counts_by_status": {"ok": 48_000, "missing": 1_838, "too_short": 3},
        },
        "encoder": {"name": "clap", "weights_sha256": HASH, "preprocessing_sha256": HASH} if encoder else None,
        "backbone": {"name": "llava-1.5-7b", "weights_sha256": HASH, "prompt": "USER: Describe «it»"},
        "system": {"name": "additive", "config": {}, "sites": [12, 24], "tokens": 16, "projector_width": 768},
        "training": {
            "loss_weights": {"xe": 1.0, "gate_penalty": 1e-4},
            "optimiser": {"name": "AdamW", "settings": {"projector_lr": 2e-4, "weight_decay": 0.01}},
            "schedule": {"name": "linear warm-up, cosine to 0", "settings": {"alignment": {"steps": 120}}},
            "batch_size": 32,
            "accumulation": 16,
            "precision": "bfloat16",
            "steps": 970,
            "best_step": 873,
            "selection_metric": "cider_d of val, greedy",
        },
        "decoding": {"beams": 5, "max_new_tokens": 24, "length_penalty": 1.0},
        "parameters": {"parts": {"projector": 1_195_008, "gates": 2}, "total": 1_195_010},
        "cost": {"hours": 1.25},
        "hardware": {"device": "cuda", "accelerator": "a card", "cores": 16},
        "packages": {"torch": "2.11.0"},
        "git_commit": "0" * 40,
        "git_dirty": False,
        **changes,
    }
    RunCard.model_validate(card).write(folder / "run_card.json")
    Scores(
        dataset="audiocaps",
        split="test",
        system="additive",
        predictions_sha256=HASH,
        references_sha256=HASH,
        n=975,
        missing=("a", "b"),
        metrics={"cider_d": 0.7},
        unavailable={"spice": "needs fusion eval setup"},
        per_clip=({"id": "a", "cider_d": 0.7},),  # type: ignore[arg-type]
        definition={"cider_d": {"n": 4, "sigma": 6.0}},
        tools={"meteor": "1.5"},
    ).write(folder / "scores" / "audio.json")
    return folder


def test_the_appendix_states_protocol_denominators_and_settings(tmp_path: Path) -> None:
    text = render_methods(methods_sections(write_run(tmp_path), heard))
    for fact in (
        "48,000 ok, 1,838 missing, 3 too short",
        f"References of test: SHA-256 {HASH}",
        "fixed denominator of 975 clips, of which 2 without usable audio count as an empty caption",
        "clap hears at 48,000 Hz.",
        "Penn Treebank",
        "sites {12, 24}; audio tokens 16; projector width 768",
        "1,195,010 trainable parameters (gates 2, projector 1,195,008)",
        'Prompt: "USER: Describe «it»"',
        "AdamW: projector lr 0.0002, weight decay 0.01",
        "alignment (steps 120); 970 steps done, the weights of step 873 kept",
        "Effective batch 512 clips (32 × 16)",
        "seed 2",
        "gate_penalty 0.0001, xe 1",
        "5 beams, at most 24 new tokens, length penalty 1",
        "cider_d: n 4, sigma 6",
        "spice is not reported: needs fusion eval setup",
        "meteor 1.5",
        "Training took 1.25 h",
        "torch 2.11.0",
        "fusion train audiocaps --system additive",
    ):
        assert fact in text, fact
    assert text.startswith("# Methods\n\n## Data\n\n- Dataset audiocaps")


def test_a_system_that_hears_nothing_and_a_run_without_scores_say_so(tmp_path: Path) -> None:
    run = write_run(tmp_path, encoder=False)
    (run / "scores" / "audio.json").unlink()
    sections = methods_sections(run, heard)
    assert sections["Audio"] == ("The system hears nothing.",)
    assert sections["Metrics"] == ("No scores lie in this run.",)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="give the directory of a finished run"):
        methods_sections(tmp_path, heard)


def test_the_modalities_of_a_run_and_where_it_started_from_are_told(tmp_path: Path) -> None:
    encoder = {"name": "efficientnet-lite0", "weights_sha256": HASH, "preprocessing_sha256": HASH}
    video = {"encoder": encoder, "system": "additive", "parameters": 3_473_390, "trained": True}
    heard_still = {"encoder": {**encoder, "name": "clap"}, "system": "additive", "parameters": 5, "trained": False}
    run = write_run(tmp_path, modalities={"audio": heard_still, "video": video}, init_sha256="cd" * 32)
    audio, seen, start = methods_sections(run, heard)["Modalities"]
    assert "audio: read by clap" in audio
    assert "5 parameters of additive, not trained" in audio
    assert "efficientnet-lite0" in seen
    assert "3,473,390 parameters of additive, trained" in seen
    assert "cd" * 32 in start
    assert "Modalities" not in methods_sections(write_run(tmp_path / "audio alone"), heard)
