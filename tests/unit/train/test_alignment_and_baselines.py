"""The aligned start, the floors of every table, the settings of a run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fusion_core.errors import ConfigError
from fusion_core.pretrained import load_backbone
from fusion_core.systems.additive import Additive, AdditiveConfig
from fusion_train.alignment import align, caption_targets
from fusion_train.baselines import NearestNeighbour, class_prior, derangement
from fusion_train.config import AlignmentSettings, load_settings, profile_names
from fusion_train.examples import CaptionedClip, TrainingExamples
from hypothesis import given, settings
from hypothesis import strategies as st

CAPTIONS = ("A dog barks", "Rain falls", "A bell rings twice")


def features(key: str) -> np.ndarray:
    """Frames that tell the clip's kind, key modulo 3, with a little noise."""
    number = int(key)
    noise = np.random.default_rng(number).normal(size=(4, 6))
    return np.eye(6)[number % 3] * 4 + 0.1 * noise


def clips(start: int, count: int) -> list[CaptionedClip]:
    return [
        CaptionedClip(f"c{n}", str(n), (CAPTIONS[n % 3], CAPTIONS[n % 3] + " nearby"))
        for n in range(start, start + count)
    ]


@pytest.mark.parametrize("adapter", ["linear", "modulated"])
def test_alignment_turns_what_is_added_to_the_captions_embeddings_and_moves_no_gate(adapter):
    backbone = load_backbone("tiny-random")
    torch.manual_seed(0)
    config = AdditiveConfig(
        backbone_width=32,
        backbone_depth=8,
        encoder_width=6,
        sites=(3, 6),
        tokens=4,
        projector_width=16,
        adapter=adapter,
    )
    system = Additive(config)
    gates = {name: value.clone() for name, value in system.named_parameters() if "gate" in name or "mixing" in name}
    examples = TrainingExamples(clips(0, 30), backbone, backbone.prompt(), features, 0)
    before, after = align(system, backbone, examples, AlignmentSettings(steps=60, batch=16))
    assert after > before + 0.4
    for name, value in gates.items():
        assert torch.equal(system.get_parameter(name), value), name
    unseen = TrainingExamples(clips(30, 9), backbone, backbone.prompt(), features, 0)
    frames = unseen.frames(range(9))
    for direction_BD in system.directions(frames.x_BTA, frames.mask_BT):
        similarity = torch.nn.functional.normalize(direction_BD, dim=-1) @ caption_targets(backbone, examples)[:3].T
        assert similarity.argmax(dim=1).tolist() == [n % 3 for n in range(30, 39)]


@settings(max_examples=50, deadline=None)
@given(count=st.integers(2, 200), seed=st.integers(0, 2**31))
def test_shuffled_audio_is_always_another_clips_and_each_is_used_once(count, seed):
    order = derangement(count, seed)
    assert sorted(order) == list(range(count))
    assert all(index != place for place, index in enumerate(order))


def test_the_class_prior_is_the_training_caption_that_val_likes_best():
    val = [CaptionedClip(f"v{n}", str(n), ("Rain falls", "Rain falls nearby")) for n in range(5)]
    val += [CaptionedClip("d", "6", ("A dog barks", "A dog barks nearby"))]
    assert class_prior(clips(0, 9), val, seed=0) in {"Rain falls", "Rain falls nearby"}


def test_the_nearest_neighbour_has_a_caption_of_its_kind():
    found = NearestNeighbour(clips(0, 12), features).caption([str(n) for n in range(20, 29)])
    assert found == [CAPTIONS[n % 3] for n in range(20, 29)]


def test_every_profile_is_valid_and_headed_by_its_command():
    assert {"default", "embedded", "tiny"} <= set(profile_names())
    for name in profile_names():
        assert load_settings(name).schedule.steps > 0


def test_settings_are_changed_by_dotted_keys_and_hashed():
    changed = load_settings("tiny", ["system.sites=[2, 5]", "schedule.steps=3"], seed=7)
    assert changed.system["sites"] == [2, 5]
    assert (changed.schedule.steps, changed.seed) == (3, 7)
    assert changed.sha256() != load_settings("tiny").sha256() == load_settings("tiny", ["seed=0"]).sha256()


@pytest.mark.parametrize(
    ("profile", "override", "message"),
    [
        ("tiny", "batch=0", "batch"),
        ("tiny", "optimizer.lr=1", "optimizer"),
        ("tiny", "batch.size=1", "has no keys"),
        ("tyni", "batch=1", "choose default"),
        ("missing.yaml", "batch=1", "no such profile file"),
    ],
)
def test_wrong_settings_name_the_key(profile, override, message):
    with pytest.raises(ConfigError, match=message):
        load_settings(profile, [override])
