"""The benches of decoding and features: what they compare, not how fast this machine is."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from fusion_core.pretrained import load_backbone
from fusion_encoders.registry import load_encoder
from fusion_train import decoding_speed
from fusion_train.config import DecodingSettings
from fusion_train.datasets.registry import parse_options, prepare_dataset
from fusion_train.decoding_speed import INSTRUCTIONS, OURS, THEIRS, measure_decoding, rescore
from fusion_train.feature_speed import measure_features
from fusion_train.generate import generate

SETTINGS = DecodingSettings(beams=3, max_new_tokens=6, batch=3)


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("tiny-random")


def test_both_sides_give_the_same_captions(backbone):
    speed = measure_decoding(backbone, INSTRUCTIONS[:5], SETTINGS, repeats=1)
    assert speed.differences == []
    assert speed.captions == 5
    assert set(speed.seconds) == {OURS, THEIRS}
    assert speed.ratio == pytest.approx(speed.seconds[THEIRS] / speed.seconds[OURS])


def test_a_caption_that_differs_is_told_with_both_scores(backbone, monkeypatch):
    """One side is made to answer with its second-best caption."""
    second = lambda backbone, ids, mask, settings: [  # noqa: E731
        found[1].ids for found in generate(backbone, ids, settings, mask_BS=mask)
    ]
    monkeypatch.setattr(decoding_speed, "_ours", second)
    speed = measure_decoding(backbone, INSTRUCTIONS[:2], SETTINGS, repeats=1)
    assert len(speed.differences) == 2
    assert all(one.gap < 0 for one in speed.differences)
    assert all(len(set(one.captions.values())) == 2 for one in speed.differences)


def test_a_caption_read_again_has_the_score_of_the_search(backbone):
    for instruction in INSTRUCTIONS[:3]:
        ids = torch.tensor([backbone.prompt(instruction).ids])
        for hypothesis in generate(backbone, ids, SETTINGS)[0]:
            assert rescore(backbone, instruction, hypothesis.ids, SETTINGS) == pytest.approx(hypothesis.score, abs=1e-4)


def test_features_are_encoded_and_read_for_the_same_clips(tmp_path):
    options = parse_options("scenes", {"train": 6, "val": 1, "test": 2, "sample_rate": 16000, "workers": 1})
    dataset = prepare_dataset("scenes", options, tmp_path / "data")
    encoder = load_encoder("logmel")
    speed = measure_features(dataset, encoder, clips=5, batch=2, repeats=2, cache_root=tmp_path / "cache")
    assert speed.clips == 5
    assert 5 * 6.0 <= speed.audio_seconds <= 5 * 10.0
    assert speed.encode > 0 < speed.read
    assert dataclasses.replace(speed, encode=3.0, read=0.5).ratio == 6


def test_the_commands_print_json(fusion_here, tmp_path):
    done = fusion_here(tmp_path, "bench", "decoding", "--profile", "tiny", "--clips", "3", "--repeats", "1", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [side["side"] for side in found["sides"]] == [OURS, THEIRS]
    assert (found["captions"], found["differences"], found["bar"]) == (3, [], 1.0)
    assert found["kept"] is (found["ratio"] >= 1)
