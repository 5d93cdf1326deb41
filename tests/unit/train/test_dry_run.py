"""What --dry-run finds out: parameters, memory, work and assets, without weights and without data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from fusion_core.cost import CallShape, training_step
from fusion_core.errors import ConfigError
from fusion_core.pretrained import load_backbone
from fusion_core.step_memory import cache_bytes, step_memory
from fusion_core.systems.additive import Additive, AdditiveConfig
from fusion_train.assets import PUBLISHED, find_assets, read_dataset
from fusion_train.config import RunSettings, load_settings, profile_names
from fusion_train.datasets.registry import parse_options, prepare_dataset
from fusion_train.dry_run import dry_run
from fusion_train.model import build_backbone, build_system

SEED = {
    "reference": {"sites": [12, 24], "tokens": 16, "projector_width": 768, "gate_init": 0.05},
    "optimiser": {"projector_lr": 2e-4, "adapter_lr": 1e-4, "weight_decay": 0.01, "gate_penalty": 1e-4},
    "schedule": {"warmup": 0.03},
    "evaluation": {"patience": 2},
    "decoding": {"beams": 5},
}


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunSettings:
    monkeypatch.chdir(tmp_path)
    return load_settings("tiny", seed=0, system="additive")


@pytest.mark.parametrize("profile", ["paper-7b", "paper-13b"])
def test_the_paper_profiles_have_the_hyperparameters_of_the_study(profile: str) -> None:
    settings = load_settings(profile).model_dump()
    for section, wanted in SEED.items():
        assert {name: settings[section][name] for name in wanted} == wanted
    assert settings["batch"] * settings["accumulate"] == 512
    assert settings["encoder"] == "clap"
    assert settings["backbone"] == profile.replace("paper", "llava-1.5")


def test_every_profile_says_its_command_cost_and_expectation(repository: Path) -> None:
    folder = repository / "packages" / "fusion-train" / "src" / "fusion_train" / "profiles"
    for name in profile_names():
        text = (folder / f"{name}.yaml").read_text()
        head = [line for line in text.splitlines() if line.startswith("#   ")]
        assert {line.split()[1] for line in head} >= {"command", "cost", "expected"}, name
        assert isinstance(yaml.safe_load(text), dict)


def test_what_a_dry_run_counts_is_what_a_run_builds(tiny: RunSettings) -> None:
    found = dry_run("scenes", "additive", tiny)
    backbone = build_backbone(tiny)
    system = build_system("additive", tiny, backbone, 1024)
    assert found.parameters == system.parameter_table()
    assert found.frozen == sum(parameter.numel() for parameter in backbone.model.parameters())
    assert found.memory["frozen weights"] == 4 * found.frozen
    assert found.memory["trainable weights, gradients, AdamW"] == 16 * sum(found.parameters.values())
    assert found.schedule.steps == 8
    assert found.schedule.epochs == pytest.approx(8 * 4 / 24)
    assert found.step_flops > 0
    assert json.loads(json.dumps(found.as_dict()))["peak"] == found.peak > found.memory["frozen weights"]


def test_data_is_told_as_published_until_it_is_prepared_and_as_prepared_after(tiny: RunSettings) -> None:
    few = tiny.model_copy(update={"dataset": {"train": 4, "val": 1, "test": 2}})
    before = read_dataset("scenes", few, None)
    assert not before.asset.present
    assert before.asset.detail == "fusion data prepare scenes"
    prepare_dataset("scenes", parse_options("scenes", few.dataset))
    after = read_dataset("scenes", few, None)
    assert after.asset.present
    assert (after.clips, after.captions) == (before.clips, before.captions) == (4, 20)


def test_what_is_missing_comes_with_the_command_that_provides_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.delenv("FUSION_CLAP", raising=False)
    settings = load_settings("paper-7b", ["contrastive.weight=0.1", "contrastive.text_encoder=clap"])
    details = {(asset.kind, asset.present): asset.detail for asset in find_assets(settings)}
    assert details["backbone", False] == "hf download llava-hf/llava-1.5-7b-hf"
    assert "hf download laion/clap-htsat-unfused" in details["encoder", False]
    assert "hf download laion/clap-htsat-unfused" in details["text encoder", False]
    data = read_dataset("audiocaps", settings, None)
    assert (data.clips, data.captions) == PUBLISHED["audiocaps"] == (49_838, 49_838)
    assert data.asset.detail == "fusion data prepare audiocaps --csv-dir CSVS --audio-dir AUDIO"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("batch=64", "more than the 24 training clips"),
        ("system.sitess=[1]", "no such option"),
        ("encoder=logmell", "did you mean 'logmel'"),
        ("backbone=nowhere", "There is no backbone 'nowhere'"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    change: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Exception, match=message) as caught:
        dry_run("scenes", "additive", load_settings("tiny", [change]))
    assert caught.value.exit_code in (ConfigError.exit_code, 4)  # type: ignore[attr-defined]


def additive(backbone: Any) -> Additive:
    config = AdditiveConfig(
        **Additive.backbone_options(backbone),
        encoder_width=16,
        sites=(3, 6),
        tokens=4,
        projector_width=32,
        hears="answer",
    )
    return Additive(config)


def test_memory_of_a_step_counts_what_autograd_saves_and_no_weight() -> None:
    backbone = load_backbone("tiny-random")
    system = additive(backbone)
    shape = CallShape(prompt=8, caption=6, frames=8, encoder_width=16, heard=False)
    whole, prefixed = (step_memory(backbone, system, shape, prefixed) for prefixed in (False, True))
    longer = step_memory(backbone, system, CallShape(8, 12, 8, 16, heard=False), prefixed=True)
    assert prefixed < longer
    assert prefixed <= whole
    weights = sum(p.numel() * 4 for p in [*backbone.model.parameters(), *system.parameters()])
    assert prefixed < weights
    meta_backbone = load_backbone("tiny-random").to(torch.device("meta"))
    with torch.device("meta"):
        meta_system = additive(meta_backbone)
    assert step_memory(meta_backbone, meta_system, shape, True) == pytest.approx(prefixed, rel=0.02)


def test_a_training_step_runs_and_leaves_no_gradient() -> None:
    backbone = load_backbone("tiny-random")
    system = additive(backbone)
    training_step(backbone, system, CallShape(8, 6, 8, 16, heard=False), prefixed=True)()
    assert all(parameter.grad is None for parameter in system.parameters())


def test_keys_and_values_of_a_row() -> None:
    backbone = load_backbone("tiny-random")  # 8 blocks, 2 key-value heads of width 8, fp32
    assert cache_bytes(backbone, 10) == 10 * 8 * 2 * 2 * 8 * 4
