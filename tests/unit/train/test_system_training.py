"""Every system goes through the trainer: built from settings, aligned, trained, stopped and taken up again, decoded."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from fusion_core.backbone import Backbone
from fusion_core.errors import ConfigError
from fusion_core.pretrained import load_backbone
from fusion_core.systems import SYSTEMS
from fusion_core.systems.base import FusionSystem
from fusion_encoders.base import FeatureSequence
from fusion_train.alignment import align
from fusion_train.captioner import Captioner
from fusion_train.config import AlignmentSettings, DecodingSettings, RunSettings, load_settings
from fusion_train.examples import CaptionedClip, TrainingExamples
from fusion_train.judging import Validation
from fusion_train.learner import Learner
from fusion_train.loop import Trainer
from fusion_train.model import build_system
from fusion_train.phases import cross_entropy_phase
from fusion_train.reading import make_reader
from fusion_train.statistics import fit_statistics

SYSTEM_NAMES = ["additive", "concat", "cross-attention", "data-only", "hybrid", "partial-unfreeze"]
HEARING = [name for name in SYSTEM_NAMES if name != "data-only"]
WIDTH = 6
CAPTIONS = ("A dog barks", "Rain falls on a roof", "A bell rings twice")
# Matched to an additive system as small as the tests' the attention would be of width 1, which can point one way alone.
SIZES = {"cross-attention": {"width": 6}, "partial-unfreeze": {"width": 6}, "hybrid": {"projector_width": 16}}
REFERENCE = {"sites": [3, 6], "tokens": 4, "projector_width": 16}


@pytest.fixture(scope="module")
def tiny() -> Backbone:
    return load_backbone("tiny-random")


@pytest.fixture
def build(tiny: Backbone) -> Iterator[Callable[..., FusionSystem]]:
    """Build a system from settings on the tiny backbone; it is detached after the test."""
    made: list[FusionSystem] = []

    def make(name: str, settings: RunSettings) -> FusionSystem:
        for earlier in made:
            earlier.detach()
        made.append(build_system(name, settings, tiny, WIDTH))
        return made[-1]

    yield make
    for system in made:
        system.detach()


def make_settings(**changes: object) -> RunSettings:
    """Settings of a few steps."""
    values = {
        "reference": REFERENCE,
        "batch": 4,
        "optimiser": {"projector_lr": 3e-3, "adapter_lr": 3e-3, "gate_lr": 3e-2, "lora_lr": 3e-3, "backbone_lr": 1e-3},
        "schedule": {"steps": 6, "warmup": 0.2},
        "evaluation": {"every": 3},
        "checkpoint_every": 2,
        **changes,
    }
    return RunSettings.model_validate(values)


def features(key: str) -> np.ndarray:
    """Frames that tell the clip's kind, key modulo 3, with a little noise."""
    number = int(key)
    return np.eye(WIDTH)[number % 3] * 4 + 0.1 * np.random.default_rng(number).normal(size=(3 + number % 5, WIDTH))


def examples_of(backbone: Backbone, system: FusionSystem) -> TrainingExamples:
    clips = [CaptionedClip(f"c{n}", str(n), (CAPTIONS[n % 3], CAPTIONS[n % 3] + " nearby")) for n in range(20)]
    return TrainingExamples(clips, backbone, system.prompt(backbone), features, 0)


def make_trainer(build, tiny: Backbone, name: str, folder: Path, settings: RunSettings) -> Trainer:
    system = build(name, settings.model_copy(update={"system": SIZES.get(name, {})}))
    examples = examples_of(tiny, system)
    fit_statistics(system, examples)
    weight = next(system.parameters())
    reader = make_reader(tiny, system, examples.prompt, settings)
    learner = Learner(tiny, system, examples, reader, Accelerator(cpu=True), settings.batch)
    return cross_entropy_phase(learner, Validation(lambda: float(weight.detach().abs().sum())), settings, folder)


def test_these_are_the_systems():
    assert SYSTEMS.names() == SYSTEM_NAMES


@pytest.mark.parametrize(
    ("name", "checkpointing"),
    [
        *((name, False) for name in SYSTEM_NAMES),
        *(pytest.param(name, True, marks=pytest.mark.slow) for name in SYSTEM_NAMES),
    ],
)
def test_taken_up_again_it_is_the_unbroken_run_to_the_bit(name, checkpointing, build, tiny, tmp_path):
    settings = make_settings(gradient_checkpointing=checkpointing)
    frozen = {key: value.clone() for key, value in tiny.model.state_dict().items()}
    unbroken = make_trainer(build, tiny, name, tmp_path / "unbroken", settings)
    unbroken.train()
    expected = unbroken.system.adapter_bytes()
    killed = make_trainer(build, tiny, name, tmp_path / "killed", settings)
    for count, pairs in enumerate(killed._remaining()):
        if count == 5:  # the last checkpoint is that of step 4
            break
        facts = killed._step(pairs)
        killed._count_step()
        killed._after_step(facts)
    again = make_trainer(build, tiny, name, tmp_path / "killed", settings)
    torch.manual_seed(999)
    assert again.resume() == 4
    again.train()
    tiny.model.activation_checkpointing_disable()
    assert again.system.adapter_bytes() == expected
    assert again.progress.addition_ratio == unbroken.progress.addition_ratio
    again.system.detach()
    assert all(torch.equal(frozen[key], value) for key, value in tiny.model.state_dict().items())


@pytest.mark.parametrize("name", SYSTEM_NAMES)
def test_training_lowers_the_loss_and_the_log_tells_how_much_is_added(name, build, tiny, tmp_path):
    settings = make_settings(schedule={"steps": 20}, evaluation={"every": 10}, checkpoint_every=20)
    trainer = make_trainer(build, tiny, name, tmp_path, settings)
    trainer.train()
    events = trainer.journal.read()
    steps = [event for event in events if event["event"] == "step"]
    assert np.mean([event["loss"] for event in steps[-4:]]) < 0.95 * np.mean([event["loss"] for event in steps[:4]])
    sites = {str(site) for site in trainer.system.gate_values()}
    assert all(event["gates"].keys() == sites for event in steps)
    measured = [event["addition_ratio"] for event in events if event["event"] in ("evaluated", "trained")]
    assert len(measured) == 3
    for ratios in measured:
        assert ratios.keys() == sites
        assert all(0 < ratio < 10 for ratio in ratios.values())
    assert trainer.progress.addition_ratio == measured[-1]


def test_the_blind_floor_has_neither_gates_nor_additions(build, tiny, tmp_path):
    trainer = make_trainer(build, tiny, "data-only", tmp_path, make_settings())
    assert trainer.system.gate_values() == {}
    assert float(trainer.system.penalty()) == 0
    assert align(trainer.system, tiny, trainer.learner.examples, AlignmentSettings(steps=3)) == (0.0, 0.0)


@pytest.mark.parametrize("name", ["concat", "cross-attention", "hybrid", "partial-unfreeze"])
def test_the_aligned_start_helps_every_system_that_hears(name, build, tiny):
    system = build(name, make_settings(system=SIZES.get(name, {})))
    moved = ("projector.", ".value.", ".outward.", ".inward.")
    still = {key: value.clone() for key, value in system.named_parameters() if not any(part in key for part in moved)}
    before, after = align(system, tiny, examples_of(tiny, system), AlignmentSettings(steps=60, batch=16))
    assert after > before + 0.2
    assert still
    assert all(torch.equal(system.get_parameter(key), value) for key, value in still.items())


@pytest.mark.parametrize("name", SYSTEM_NAMES)
def test_captions_of_a_batch_are_those_of_each_clip_alone(name, build, tiny):
    system = build(name, make_settings(system=SIZES.get(name, {})))
    with torch.no_grad():
        for key, parameter in system.named_parameters():
            parameter.fill_(0.4) if ".gate." in key else parameter.add_(torch.randn_like(parameter), alpha=0.1)
    captioner = Captioner(tiny, system, system.prompt(tiny))
    settings = DecodingSettings(beams=3, max_new_tokens=5)
    frames = [torch.from_numpy(features(str(n)).astype(np.float32)) for n in range(3)]
    together = captioner.caption(FeatureSequence.pad(frames), settings)
    for index, frame in enumerate(frames):
        alone = captioner.caption(FeatureSequence.pad([frame]), settings)[0]
        assert [one.text for one in together[index]] == [one.text for one in alone]
        assert [one.logprob for one in together[index]] == pytest.approx([one.logprob for one in alone], abs=1e-3)
    silent = [one.text for one in captioner.caption_without_audio(settings)]
    assert all((silent == [one.text for one in found]) is (name == "data-only") for found in together)


def test_each_part_has_its_learning_rate(build, tiny, tmp_path):
    trainer = make_trainer(build, tiny, "partial-unfreeze", tmp_path, make_settings())
    rates = {group["part"]: group["initial_lr"] for group in trainer.optimiser.param_groups}
    assert rates == {"projector": 3e-3, "adapters": 3e-3, "gates": 3e-2, "backbone": 1e-3}
    trainer = make_trainer(build, tiny, "data-only", tmp_path, make_settings())
    assert {group["part"]: group["initial_lr"] for group in trainer.optimiser.param_groups} == {"lora": 3e-3}


@pytest.mark.parametrize("name", SYSTEM_NAMES)
def test_a_profile_builds_every_system(name, build):
    system = build(name, load_settings("default", ["reference.sites=[3, 6]", "reference.projector_width=64"]))
    assert system.name == name
    assert json.loads(json.dumps(system.settings())) == system.settings()


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("data-only", {"system": {"placement": "both"}}, "system.placement: 'data-only' has no such option"),
        ("data-only", {"system": {"sites": [3]}}, "system.sites: 'data-only' has no such option"),
        ("cross-attention", {"system": {"colour": 1}}, "it has sites, tokens"),
        ("additive", {"reference": {**REFERENCE, "width": 3}}, "reference.width: 'additive' has no such option"),
        ("concat", {"system": {"backbone_width": 3}}, "follows from backbone and encoder"),
        ("concat", {"reference": {}, "system": {"sites": [3]}}, "system 'concat': .*width.*--set system.KEY"),
        ("cross-attention", {"system": {"width": 0}}, "width must be at least 1"),
    ],
)
def test_options_are_strict(name, settings, message, build):
    with pytest.raises(ConfigError, match=message):
        build(name, make_settings(**settings))


def test_options_change_the_system_that_is_trained_and_not_what_it_is_matched_to(build):
    plain = build("cross-attention", make_settings())
    changed = build("cross-attention", make_settings(system={"tokens": 2, "heads": 2}))
    assert (plain.config.tokens, changed.config.tokens, changed.config.heads) == (4, 2, 2)
    assert abs(sum(changed.parameter_table().values()) / sum(plain.parameter_table().values()) - 1) < 0.2
    additive = build("additive", make_settings(system={"tokens": 2}))
    assert (additive.config.tokens, additive.config.sites) == (2, (3, 6))
    alone = build("additive", make_settings(reference={}, system=REFERENCE))
    assert alone.adapter_bytes() == build("additive", make_settings()).adapter_bytes()
