"""Resampler, gates, prompt, configuration, registry and files of fusion-core."""

from __future__ import annotations

import json
import os

import pytest
import torch
from fusion_core.backbone import SLOT_TEXT
from fusion_core.errors import ConfigError, DataError, MissingAssetError
from fusion_core.files import write_atomic
from fusion_core.gates import TokenGate
from fusion_core.journal import Journal
from fusion_core.pretrained import load_backbone
from fusion_core.resampler import resample_tokens
from fusion_core.systems import SYSTEMS
from fusion_core.systems.additive import AdditiveConfig
from fusion_core.systems.base import load_system
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

WIDTHS = {"backbone_width": 8, "backbone_depth": 4, "encoder_width": 3}


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    tokens=st.integers(1, 20),
    pooling=st.sampled_from(["max", "mean"]),
    seed=st.integers(0, 2**31),
)
def test_resampling_equals_adaptive_pooling_of_the_real_frames(lengths, tokens, pooling, seed):
    generator = torch.Generator().manual_seed(seed)
    x_BTA = torch.randn(len(lengths), max(lengths), 5, generator=generator)
    mask_BT = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    pool = functional.adaptive_max_pool1d if pooling == "max" else functional.adaptive_avg_pool1d
    resampled = resample_tokens(x_BTA, mask_BT, tokens, pooling)
    for row, length in enumerate(lengths):
        expected = pool(x_BTA[row, :length].T[None], tokens)[0].T
        torch.testing.assert_close(resampled[row], expected, rtol=1e-5, atol=1e-6)


def test_a_clip_without_frames_is_refused():
    with pytest.raises(ValueError, match="without any frame"):
        resample_tokens(torch.zeros(1, 4, 2), torch.zeros(1, 4, dtype=torch.bool), 2)


@pytest.mark.parametrize("mixing", ["gated", "static"])
def test_token_gates_start_at_one_over_k(mixing):
    weights = TokenGate(5, 8, mixing)(torch.randn(2, 3, 8))
    torch.testing.assert_close(weights, torch.full_like(weights, 0.2))


def test_the_prompt_is_the_chat_prompt_and_slots_lie_before_the_instruction():
    backbone = load_backbone("tiny-random")
    bare = backbone.prompt()
    expected = backbone.tokenizer.apply_chat_template(
        [{"role": "user", "content": "Describe the sound."}], add_generation_prompt=True, return_dict=True
    )["input_ids"]
    assert list(bare.ids) == expected
    assert bare.slot_index() is None
    slotted = backbone.prompt(slots=3)
    assert [slotted.ids[position] for position in slotted.slots] == [
        backbone.tokenizer(SLOT_TEXT, add_special_tokens=False)["input_ids"][0]
    ] * 3
    assert [token for index, token in enumerate(slotted.ids) if index not in slotted.slots] == list(bare.ids)
    index = slotted.slot_index(len(slotted.ids) + 2)
    assert index.shape == (1, len(slotted.ids) + 2)
    assert [position for position, slot in enumerate(index[0].tolist()) if slot >= 0] == list(slotted.slots)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sites": (3, 1)}, "sites"),
        ({"sites": (9,)}, "from 0 to 3"),
        ({"sites": ()}, "sites"),
        ({"sites": (1,), "tokens": 0}, "tokens"),
        ({"sites": (1,), "placement": "everywhere"}, "placement is 'everywhere'"),
        ({"sites": (1,), "adapter": "modulated", "placement": "slots"}, "broadcast"),
    ],
)
def test_wrong_settings_are_refused_when_they_are_made(options, message):
    with pytest.raises(ConfigError, match=message):
        AdditiveConfig(**WIDTHS, **options)


def test_an_unknown_system_suggests_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'additive'"):
        SYSTEMS.load("aditive")


def test_a_backbone_that_is_not_here_is_a_missing_asset(tmp_path):
    with pytest.raises(MissingAssetError, match="hf download"):
        load_backbone("llava-hf/llava-1.5-7b-hf")
    (tmp_path / "config.json").write_text("{}")


@pytest.mark.parametrize("content", ["", "{}", json.dumps({"schema": "fusion.adapter/1", "system": "additive"})])
def test_a_folder_that_is_no_adapter_is_refused(tmp_path, content):
    with pytest.raises(DataError, match="no adapter here"):
        load_system(tmp_path)
    (tmp_path / "config.json").write_text(content)
    (tmp_path / "adapter.safetensors").write_bytes(b"nonsense")
    with pytest.raises(DataError, match=str(tmp_path)):
        load_system(tmp_path)


def test_a_failed_write_leaves_the_old_content(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_journal_survives_a_line_that_was_cut_off(tmp_path):
    journal = Journal(tmp_path / "log.jsonl")
    journal.write("step", loss=1.5)
    with journal.path.open("a") as stream:
        stream.write('{"event": "st')
    assert [event["loss"] for event in journal.read()] == [1.5]
