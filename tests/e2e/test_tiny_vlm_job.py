"""The tiny vision-language model hears through the command line: captions by the text-only prompt, its weights untouched."""

from __future__ import annotations

import json

import pytest
from fusion_core.pretrained import load_backbone
from fusion_core.tiny_vlm import TINY_VLM_FOLDER
from fusion_train.retention_log import stability_frontier


@pytest.mark.slow
def test_scenes_train_on_tiny_vlm(tmp_path, fusion_here):
    settings = ["--set", "backbone=tiny-vlm", "--set", "evaluation.retention={items: 12, every: 2}"]
    train = ["train", "scenes", "--system", "additive", "--profile", "tiny", "--out", "run"]
    done = fusion_here(tmp_path, *train, *settings)
    assert done.returncode == 0, done.stderr
    card = json.loads((tmp_path / "run" / "run_card.json").read_text())
    assert card["backbone"]["name"] == "tiny-vlm"
    assert card["backbone"]["weights_sha256"] == load_backbone("tiny-vlm").identity.weights_sha256
    rows = stability_frontier(tmp_path / "run")
    assert [row["step"] for row in rows] == [card["training"]["steps"]], "every second of two evaluations is the last"
    assert set(rows[0]) >= {"score", "before", "distractor"}
    said = json.loads((tmp_path / "run" / "predictions" / "none.json").read_text())["items"][0]["caption"]
    assert len(said.split()) > 1, f"{TINY_VLM_FOLDER} cannot caption: {said!r}"
