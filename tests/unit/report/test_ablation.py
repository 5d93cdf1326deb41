"""Runs grouped by the settings in which they differ, from their files alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fusion_eval.errors import DataError
from fusion_eval.schemas import RunCard, Scores
from fusion_report.ablation import COMMON, ablation_rows, draw_ablation

HASH = "0" * 64


def write_run(
    folder: Path,
    seed: int = 0,
    system: str = "additive",
    sites: tuple[int, ...] = (12,),
    values: tuple[float, ...] = (0.2, 0.4, 0.9),
    references: str = HASH,
    objectives: tuple[str, ...] = ("xe",),
    **settings: Any,
) -> Path:
    """Write what the report reads of a run."""
    folder.mkdir(parents=True)
    config = {"sites": list(sites), "tokens": 16, "backbone_width": 576}
    card = {
        "run_id": folder.name,
        "created": datetime.now(UTC),
        "command": ["fusion"],
        "seed": seed,
        "dataset": {"name": "scenes", "references_sha256": {}, "counts_by_status": {}},
        "backbone": {"name": "b", "weights_sha256": HASH, "prompt": ""},
        "system": {"name": system, "config": config, "final_gates": dict.fromkeys(sites, -0.2 - 0.1 * seed)},
        "training": {
            "loss_weights": {"gate_penalty": 1e-4, **dict.fromkeys(objectives, 1.0)},
            "optimiser": {"name": "AdamW"},
            "schedule": {"name": "cosine"},
            "batch_size": 16,
            "accumulation": 1,
            "precision": "bf16",
            "steps": 100,
        },
        "decoding": {"beams": 5, "max_new_tokens": 20, "length_penalty": 1.0},
        "parameters": {"parts": {"adapters": 7}, "total": 7},
        "cost": {"hours": 50 / 3600},
        "hardware": {"device": "cpu"},
        "packages": {},
    }
    RunCard.model_validate(card).write(folder / "run_card.json")
    content = {"system": system, "dataset": "scenes", "settings": {"seed": seed, "batch": 16, **settings}}
    (folder / "settings.json").write_text(json.dumps(content))
    Scores(
        dataset="scenes",
        split="test",
        system=system,
        predictions_sha256=HASH,
        references_sha256=references,
        n=len(values),
        metrics={"cider_d": float(np.mean(values))},
        per_clip=tuple({"id": str(n), "cider_d": value} for n, value in enumerate(values)),
        definition={},
        tools={},
    ).write(folder / "scores" / "audio.json")
    return folder


def test_seeds_of_the_same_settings_are_one_row(tmp_path):
    runs = [
        write_run(tmp_path / "a0", seed=0),
        write_run(tmp_path / "a1", seed=1, values=(0.4, 0.4, 0.7)),
        write_run(tmp_path / "b0", seed=0, sites=(12, 24), values=(0.1, 0.1, 0.1)),
    ]
    first, second = ablation_rows(runs)
    assert (first.label, second.label) == ("sites {12}", "sites {12, 24}")
    assert (first.seeds, second.seeds) == ((0, 1), (0,))
    measured = first.metrics["cider_d"]
    assert measured.value == pytest.approx(0.5)
    assert measured.by_seed == {0: pytest.approx(0.5), 1: pytest.approx(0.5)}
    assert measured.deviation == pytest.approx(0.0)
    assert 0.3 <= measured.low < 0.5 < measured.high <= 0.801  # the clips' means over seeds are .3, .4 and .8
    assert first.gates == {12: pytest.approx(0.25)}
    assert second.metrics["cider_d"].deviation is None
    assert first.step_seconds == pytest.approx(0.5)


def test_of_several_systems_only_what_varies_within_one_is_named(tmp_path):
    runs = [
        write_run(tmp_path / "a", sites=(12,), rate=1),
        write_run(tmp_path / "x", system="cross-attention", sites=(0, 1), rate=2),
    ]
    assert [row.label for row in ablation_rows(runs)] == ["additive", "cross-attention"]
    runs.append(write_run(tmp_path / "x2", system="cross-attention", sites=(0, 1), rate=3))
    labels = [row.label for row in ablation_rows(runs)]
    assert labels == ["additive, rate 1", "cross-attention, rate 2", "cross-attention, rate 3"]


def test_objectives_are_told_apart_by_what_they_used(tmp_path):
    """Self-critical training keeps the settings of the run that it goes on from; an older run may lack a setting unused by it."""
    scst = {"start": "always", "rate": 0.05}
    first = write_run(tmp_path / "xe", scst=scst)
    older = write_run(tmp_path / "older", seed=1, scst={"start": "never"})
    both = write_run(tmp_path / "both", objectives=("xe", "contrastive"), scst=scst, contrastive={"weight": 0.1})
    further = write_run(tmp_path / "xe-scst", objectives=("scst",), scst=scst)
    rows = ablation_rows([first, older, both, further])
    assert [row.label for row in rows] == ["objective xe", "objective xe + contrastive", "objective scst"]
    assert rows[0].seeds == (0, 1)


def test_one_group_says_that_all_are_alike(tmp_path):
    (row,) = ablation_rows([write_run(tmp_path / "a", seed=0), write_run(tmp_path / "b", seed=1)])
    assert (row.label, row.seeds) == (COMMON, (0, 1))


def test_what_cannot_be_put_together_is_refused(tmp_path):
    first = write_run(tmp_path / "a")
    with pytest.raises(DataError, match="same seed and settings"):
        ablation_rows([first, write_run(tmp_path / "again")])
    with pytest.raises(DataError, match="different references"):
        ablation_rows([first, write_run(tmp_path / "other", seed=1, references="1" * 64)])
    with pytest.raises(DataError, match="no finished run here"):
        ablation_rows([tmp_path])


def test_the_figure_has_a_panel_a_metric_and_one_for_the_gates(tmp_path):
    runs = [write_run(tmp_path / "a"), write_run(tmp_path / "b", sites=(24,))]
    png = draw_ablation(ablation_rows(runs), tmp_path / "report" / "sites.png")
    assert png.read_bytes().startswith(b"\x89PNG")
    svg = (tmp_path / "report" / "sites.svg").read_text()
    assert all(text in svg for text in ("CIDEr-D", "gates", "sites {12}", "sites {24}"))
