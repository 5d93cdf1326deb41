"""The training loop on the tiny backbone: exact resumption, accumulation, order, early stop, damage."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from fusion_core.errors import DataError
from fusion_core.pretrained import load_backbone
from fusion_core.systems.additive import Additive, AdditiveConfig
from fusion_train.checkpoint import list_checkpoints, save_checkpoint
from fusion_train.config import EvaluationSettings, OptimiserSettings, RunSettings, ScheduleSettings
from fusion_train.examples import CaptionedClip, TrainingExamples
from fusion_train.judging import Validation
from fusion_train.learner import Learner
from fusion_train.loop import Trainer
from fusion_train.objectives.xe import cross_entropy_sum
from fusion_train.phases import cross_entropy_phase
from fusion_train.reading import Reader
from fusion_train.statistics import fit_statistics
from fusion_train.stopping import Diverged, Interrupted

CLIPS = 20
WIDTH = 6


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("tiny-random")


def features(key: str) -> np.ndarray:
    number = int(key)
    return np.random.default_rng(number).normal(size=(3 + number % 5, WIDTH)).astype(np.float16)


def clips() -> list[CaptionedClip]:
    captions = ("A dog barks", "Rain falls on a roof", "A bell")
    return [CaptionedClip(f"clip{n}", str(n), (captions[n % 3], captions[(n + 1) % 3])) for n in range(CLIPS)]


def make_settings(**changes) -> RunSettings:
    values = {
        "batch": 4,
        "optimiser": OptimiserSettings(projector_lr=3e-3, adapter_lr=3e-3, gate_lr=3e-2),
        "schedule": ScheduleSettings(steps=9, warmup=0.2),
        "evaluation": EvaluationSettings(every=3),
        "checkpoint_every": 2,
        **changes,
    }
    return RunSettings(**values)


def make_trainer(backbone, folder, settings=None, evaluate=None) -> Trainer:
    settings = settings or make_settings()
    torch.manual_seed(settings.seed)
    config = AdditiveConfig(
        backbone_width=32, backbone_depth=8, encoder_width=WIDTH, sites=(3, 6), tokens=4, projector_width=16
    )
    system = Additive(config)
    system.calibrate(backbone)
    examples = TrainingExamples(clips(), backbone, backbone.prompt(), features, settings.seed)
    fit_statistics(system, examples)
    opening = lambda: sum(system.gate_values().values())  # noqa: E731 - a score that grows and depends on the weights
    reader = Reader(backbone, examples.prompt)
    learner = Learner(backbone, system, examples, reader, Accelerator(cpu=True), settings.batch)
    return cross_entropy_phase(learner, Validation(evaluate or opening), settings, folder)


def weights(trainer: Trainer) -> bytes:
    return trainer.system.adapter_bytes()


def test_training_lowers_the_loss_and_opens_nothing_else(backbone, tmp_path):
    before = {name: value.clone() for name, value in backbone.model.state_dict().items()}
    trainer = make_trainer(backbone, tmp_path, make_settings(schedule=ScheduleSettings(steps=40)))
    trainer.train()
    losses = [event["loss"] for event in trainer.journal.read() if event["event"] == "step"]
    assert len(losses) == 40
    assert np.mean(losses[-5:]) < 0.85 * np.mean(losses[:5])
    assert all(torch.equal(before[name], value) for name, value in backbone.model.state_dict().items())


@pytest.mark.parametrize("stop", [1, 2, 5, 7])
def test_stopped_and_taken_up_again_is_the_unbroken_run_to_the_bit(backbone, tmp_path, stop):
    unbroken = make_trainer(backbone, tmp_path / "unbroken")
    unbroken.train()
    broken = make_trainer(backbone, tmp_path / "broken")
    original = broken._step

    def step(pairs):
        facts = original(pairs)
        if broken.progress.step + 1 == stop:
            os.kill(os.getpid(), signal.SIGTERM)
        return facts

    broken._step = step
    with pytest.raises(Interrupted, match="--resume"):
        broken.train()
    again = make_trainer(backbone, tmp_path / "broken")
    torch.manual_seed(999)
    assert again.resume() == stop
    again.train()
    assert weights(again) == weights(unbroken)
    assert again.progress.best_score == unbroken.progress.best_score
    assert again.schedule.get_last_lr() == unbroken.schedule.get_last_lr()


def test_a_run_that_lost_its_last_steps_repeats_them(backbone, tmp_path):
    """A SIGKILL between two checkpoints: the newest complete one is taken up, a half-written one is not looked at."""
    unbroken = make_trainer(backbone, tmp_path / "unbroken")
    unbroken.train()
    killed = make_trainer(backbone, tmp_path / "killed", make_settings())
    for count, pairs in enumerate(killed._remaining()):
        if count == 5:
            break
        facts = killed._step(pairs)
        killed._count_step()
        killed._after_step(facts)
    half = tmp_path / "killed" / "checkpoints" / ".writing-x"
    half.mkdir()
    (half / "state.safetensors").write_bytes(b"half")
    again = make_trainer(backbone, tmp_path / "killed")
    assert again.resume() == 4
    again.train()
    assert weights(again) == weights(unbroken)


def test_accumulated_batches_equal_one_large_batch(backbone, tmp_path):
    results = []
    for batch, accumulate in ((1, 8), (8, 1), (2, 4)):
        settings = make_settings(batch=batch, accumulate=accumulate, schedule=ScheduleSettings(steps=4))
        trainer = make_trainer(backbone, tmp_path / str(batch), settings)
        trainer.train()
        results.append({name: parameter.detach().clone() for name, parameter in trainer.system.named_parameters()})
    for other in results[1:]:
        for name, expected in results[0].items():
            torch.testing.assert_close(other[name], expected, rtol=0, atol=2e-5, msg=name)


def test_an_epoch_shows_each_clip_once_in_batches_of_similar_length(backbone):
    examples = TrainingExamples(clips(), backbone, backbone.prompt(), features, 0)
    pairs = [pair for batch in examples.epoch(3, 4) for pair in batch]
    assert sorted(clip for clip, _ in pairs) == list(range(CLIPS))
    assert list(examples.epoch(3, 4)) == list(examples.epoch(3, 4))
    assert list(examples.epoch(3, 4)) != list(examples.epoch(4, 4))

    def spread(batches) -> float:
        lengths = [[len(examples.tokens[clip][caption]) for clip, caption in batch] for batch in batches]
        return sum(max(row) - min(row) for row in lengths)

    shuffled = [pairs[start::5] for start in range(5)]
    assert spread(examples.epoch(3, 4)) < spread(shuffled)


def test_only_caption_and_end_are_predicted(backbone):
    examples = TrainingExamples(clips(), backbone, backbone.prompt(), features, 0)
    batch = examples.collate([(0, 0), (1, 0)])
    targets = iter(batch.targets_N.tolist())
    for row, clip in enumerate((0, 1)):
        caption = examples.tokens[clip][0]
        assert [next(targets) for _ in range(int(batch.labels_BS[row].sum()))] == caption
        assert caption[-1] == backbone.end_id
        read = batch.ids_BS[row][batch.labels_BS[row]].tolist()
        assert read == [backbone.prompt().ids[-1], *caption[:-1]]
    assert batch.tokens == sum(len(examples.tokens[clip][0]) for clip in (0, 1))


def test_cross_entropy_is_that_of_the_model_with_labels(backbone):
    examples = TrainingExamples(clips(), backbone, backbone.prompt(), features, 0)
    batch = examples.collate([(0, 0), (1, 0), (2, 1)])
    labels = torch.full_like(batch.ids_BS, -100)
    labels[batch.labels_BS] = batch.targets_N
    with torch.no_grad():
        expected = backbone.model(batch.ids_BS, attention_mask=batch.mask_BS, shift_labels=labels, labels=labels).loss
        measured = cross_entropy_sum(Reader(backbone, backbone.prompt()), batch, None) / batch.tokens
    assert float(measured) == pytest.approx(float(expected), rel=1e-5)


def test_patience_stops_training_and_the_best_weights_are_kept(backbone, tmp_path):
    scores = iter([0.1, 0.5, 0.4, 0.3, 0.9])
    kept = {}
    trainer = make_trainer(backbone, tmp_path, make_settings(schedule=ScheduleSettings(steps=30)))

    def evaluate() -> float:
        kept[trainer.progress.step] = weights(trainer)
        return next(scores)

    trainer.validation = Validation(evaluate)
    progress = trainer.train()
    assert (progress.step, progress.best_step, progress.stopped_early) == (12, 6, True)
    assert weights(trainer) == kept[6] != kept[12]


def test_a_loss_that_is_no_number_stops_with_a_sentence(backbone, tmp_path):
    trainer = make_trainer(backbone, tmp_path)
    with torch.no_grad():
        trainer.system.projector.inner.weight.fill_(float("nan"))
    with pytest.raises(Diverged, match="not a number at step 1"):
        trainer.train()
    events = [event for event in trainer.journal.read() if event["event"] == "contingency"]
    assert [event["rate_factor"] for event in events] == [0.5, 0.25]
    assert [event["clip_factor"] for event in events] == [2.0, 4.0]


def test_a_damaged_checkpoint_is_named(backbone, tmp_path):
    trainer = make_trainer(backbone, tmp_path)
    trainer.train()
    newest = list_checkpoints(trainer.checkpoints)[-1]
    (newest / "state.safetensors").write_bytes(b"damaged")
    with pytest.raises(DataError, match=newest.name):
        make_trainer(backbone, tmp_path).resume()


def test_a_full_disk_leaves_the_last_good_checkpoint(backbone, tmp_path, monkeypatch):
    trainer = make_trainer(backbone, tmp_path)
    trainer.train()
    good = list_checkpoints(trainer.checkpoints)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(trainer.checkpoints, 99, trainer.modules, trainer.optimiser.optimizer, {})
    assert list_checkpoints(trainer.checkpoints) == good
    assert sorted(trainer.checkpoints.iterdir()) == good


def test_weight_decay_falls_on_matrices_alone_and_gates_have_their_own_rate(backbone, tmp_path):
    trainer = make_trainer(backbone, tmp_path)
    names = {id(parameter): name for name, parameter in trainer.system.named_parameters()}
    decayed, rates = set(), {}
    for group in trainer.optimiser.param_groups:
        for parameter in group["params"]:
            if group["weight_decay"] > 0:
                decayed.add(names[id(parameter)])
            rates[names[id(parameter)]] = group["initial_lr"]
    assert not [name for name in decayed if "alpha" in name or "bias" in name or "norm" in name]
    assert "sites.3.adapter.outward.weight" in decayed
    assert rates["sites.3.gate.alpha"] == pytest.approx(3e-2)
    assert rates["projector.inner.weight"] == pytest.approx(3e-3)
