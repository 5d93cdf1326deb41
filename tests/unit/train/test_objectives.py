"""The objectives: values by hand, gradients, and that nothing depends on how an effective batch is split."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from fusion_core.backbone import Backbone
from fusion_core.context import ResidualAlignment
from fusion_core.errors import ConfigError
from fusion_core.pretrained import load_backbone
from fusion_eval.metrics.cider_d import CiderD
from fusion_eval.tokenize import tokenize_all
from fusion_train.config import ContrastiveSettings, RunSettings, SelfCriticalSettings
from fusion_train.examples import CaptionedClip, TrainingExamples
from fusion_train.judging import Validation
from fusion_train.learner import Learner
from fusion_train.loop import Trainer
from fusion_train.model import build_system
from fusion_train.objectives.contrastive import Contrastive, contrastive_loss
from fusion_train.objectives.reward import END, CaptionReward
from fusion_train.objectives.scst import SelfCritical
from fusion_train.objectives.xe import CrossEntropy
from fusion_train.phases import cross_entropy_phase, self_critical_phase
from fusion_train.reading import make_reader
from fusion_train.sampling import sample_captions
from fusion_train.statistics import fit_statistics
from fusion_train.stopping import Diverged
from torch.nn import functional

WIDTH = 6
CAPTIONS = ("A dog barks", "Rain falls on a roof", "A bell rings twice")


@pytest.fixture(scope="module")
def tiny() -> Backbone:
    return load_backbone("tiny-random")


def make_settings(**changes: object) -> RunSettings:
    values = {
        "reference": {"sites": [3, 6], "tokens": 4, "projector_width": 16, "hears": "answer", "gate_init": 0.3},
        "precision": "fp32",
        "batch": 4,
        "optimiser": {"projector_lr": 3e-3, "adapter_lr": 3e-3, "gate_lr": 3e-2, "clip_norm": 100.0},
        "schedule": {"steps": 6, "warmup": 0.2},
        "evaluation": {"every": 3},
        "decoding": {"max_new_tokens": 6},
        "checkpoint_every": 2,
        **changes,
    }
    return RunSettings.model_validate(values)


def frames(key: str) -> np.ndarray:
    number = int(key)
    return np.eye(WIDTH)[number % 3] * 4 + 0.1 * np.random.default_rng(number).normal(size=(3 + number % 5, WIDTH))


@pytest.fixture
def learn(tiny: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator:
    """Build a learner; what was attached is detached after the test."""
    monkeypatch.setenv("FUSION_CACHE", str(tmp_path / "cache"))
    made: list[Learner] = []

    def build(settings: RunSettings, name: str = "additive") -> Learner:
        for earlier in made:
            earlier.system.detach()
        system = build_system(name, settings, tiny, WIDTH)
        clips = [CaptionedClip(f"c{n}", str(n), (CAPTIONS[n % 3], CAPTIONS[n % 3] + " nearby")) for n in range(16)]
        examples = TrainingExamples(clips, tiny, system.prompt(tiny), frames, settings.seed)
        fit_statistics(system, examples)
        reader = make_reader(tiny, system, examples.prompt, settings)
        made.append(Learner(tiny, system, examples, reader, Accelerator(cpu=True), settings.batch))
        return made[-1]

    yield build
    for learner in made:
        learner.system.detach()


def embed(texts: list[str]) -> torch.Tensor:
    """A text encoder of tests: the kind of the caption, as a unit vector with a little of its length."""
    rows = [[float(text.startswith(caption)) for caption in CAPTIONS] + [0.01 * len(text)] for text in texts]
    return functional.normalize(torch.tensor(rows), dim=-1)


def gradients(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in learner.system.named_parameters() if p.grad is not None}


# --- contrastive -------------------------------------------------------------------------------------------------------------


def test_the_contrastive_loss_by_hand():
    audio = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    text = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    owner = torch.tensor([0, 0, 1])
    logits = np.array([[1.0, 0.6, 0.0], [0.0, 0.8, 1.0]]) / 0.5
    to_text = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    to_audio = logits - np.log(np.exp(logits).sum(axis=0, keepdims=True))
    expected = -0.5 * (
        (to_text[0, :2].mean() + to_text[1, 2]) / 2 + (to_audio[0, 0] + to_audio[0, 1] + to_audio[1, 2]) / 3
    )
    assert float(contrastive_loss(audio, text, owner, 0.5)) == pytest.approx(expected, rel=1e-6)


def test_with_one_caption_a_clip_it_is_the_loss_of_clip():
    generator = torch.Generator().manual_seed(0)
    audio, text = (functional.normalize(torch.randn(5, 8, generator=generator), dim=-1) for _ in range(2))
    target = torch.arange(5)
    logits = audio @ text.T / 0.07
    expected = (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2
    torch.testing.assert_close(contrastive_loss(audio, text, target, 0.07), expected)


def test_the_contrastive_loss_trains_projector_and_head_and_is_counted(learn, tmp_path):
    settings = make_settings(contrastive={"weight": 1.0}, schedule={"steps": 30}, evaluation={"every": 30})
    learner = learn(settings)
    contrastive = Contrastive(learner, settings.contrastive, embed, 4)
    trainer = cross_entropy_phase(learner, Validation(lambda: 0.0), settings, tmp_path, [contrastive])
    before = contrastive.module.weight.detach().clone()
    trainer.train()
    losses = [event["contrastive"] for event in trainer.journal.read() if event["event"] == "step"]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    assert not torch.equal(before, contrastive.module.weight)
    assert "contrastive" in {group["part"] for group in trainer.optimiser.param_groups}


def test_a_system_that_hears_nothing_has_no_contrastive_loss(learn):
    learner = learn(make_settings(), "data-only")
    with pytest.raises(ConfigError, match="hears nothing"):
        Contrastive(learner, ContrastiveSettings(weight=0.1), embed, 4)


# --- sampling and reward -----------------------------------------------------------------------------------------------------


def test_a_sampled_caption_depends_on_its_own_random_numbers_alone(learn, tiny):
    learner = learn(make_settings())
    system, prompt = learner.system, learner.examples.prompt
    features = learner.examples.frames([0, 1, 2])
    uniform = torch.from_numpy(np.random.default_rng(0).random((3, 4, 6)))

    def sample(rows: list[int]) -> list:
        context = system.bind(features.x_BTA[rows], features.mask_BT[rows])
        prompt_BS = torch.tensor([prompt.rest] * len(rows))
        return sample_captions(tiny, prompt_BS, uniform[rows], context, learner.reader.head.past(len(rows)))

    together = sample([0, 1, 2])
    assert [sample([row])[0] for row in range(3)] == together
    assert len({one.ids for clip in together for one in clip}) > 6
    for one in (one for clip in together for one in clip):
        assert one.ended == (one.ids[-1] == tiny.end_id)
        assert tiny.end_id not in one.ids[:-1]


def test_tokens_are_sampled_with_the_probability_that_the_model_gives_them(tiny):
    prompt_BS = torch.tensor([tiny.prompt().ids])
    draws = 4000
    uniform = torch.from_numpy((np.random.default_rng(1).permutation(draws) + 0.5)[None, :, None] / draws)
    found = sample_captions(tiny, prompt_BS, uniform)[0]
    with torch.no_grad():
        probability = tiny.logits(tiny.hidden(prompt_BS)[:, -1])[0].softmax(dim=-1)
    counts = torch.bincount(torch.tensor([one.ids[0] for one in found]), minlength=len(probability))
    # One number from each of 4,000 equal parts: no token can be off by more than one draw.
    assert (counts - draws * probability).abs().max() <= 1.5


def test_the_reward_is_cider_d_with_the_end_as_a_word():
    references = [
        ["A dog barks", "A dog is barking loudly"],
        ["Rain falls", "Rain falls on a roof"],
        ["A bell", "One bell"],
    ]
    reward = CaptionReward(references)
    metric = CiderD([[[*tokens, END] for tokens in tokenize_all(texts)] for texts in references])
    captions = ["A dog barks", "A dog barks", "Rain on a roof"]
    found = reward(captions, [True, False, True], [0, 0, 1])
    words = tokenize_all(captions)
    expected = metric.score([[*words[0], END], words[1], [*words[2], END]], [0, 0, 1])
    np.testing.assert_allclose(found, expected)
    assert found[0] > found[1] > 0  # ending in time is worth something


# --- self-critical training --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scst", [{}, {"baseline": "greedy"}, {"entropy": 0.1, "divergence": 0.1}], ids=["plain", "greedy", "regularised"]
)
def test_self_critical_gradients_do_not_depend_on_the_split(scst, learn):
    found = []
    for batch in (1, 4, 16):
        learner = learn(make_settings(batch=batch))
        objective = SelfCritical(learner, SelfCriticalSettings(**scst), 6, seed=0)
        with torch.no_grad():  # away from the start, so that there is a divergence
            learner.system.projector.outer.weight.add_(0.05)
        facts = objective.accumulate([(clip, 0) for clip in range(16)], step=3)
        found.append((facts, gradients(learner)))
    for facts, grads in found[1:]:
        assert facts["reward"] == pytest.approx(found[0][0]["reward"], rel=1e-9)
        assert facts["loss"] == pytest.approx(found[0][0]["loss"], rel=1e-4, abs=1e-6)
        for name, expected in found[0][1].items():
            torch.testing.assert_close(grads[name], expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["additive", "concat", "cross-attention", "hybrid"])
@pytest.mark.parametrize("changes", [{"frozen_prefix": False}, {"gradient_checkpointing": True}], ids=str)
def test_self_critical_gradients_do_not_depend_on_how_captions_are_read(changes, name, learn, tiny):
    """From the streams that sampling has kept, through all blocks, or with blocks that are computed twice."""
    found = []
    for chosen in ({}, changes):
        learner = learn(make_settings(**chosen), name)
        objective = SelfCritical(learner, SelfCriticalSettings(divergence=0.1), 6, seed=0)
        with torch.no_grad():
            learner.system.projector.outer.weight.add_(0.05)
        if chosen.get("gradient_checkpointing"):
            tiny.model.activation_checkpointing_enable({"use_reentrant": False})
            tiny.model.train()
        facts = objective.accumulate([(clip, 0) for clip in range(8)], step=3)
        found.append((facts, gradients(learner)))
        tiny.model.activation_checkpointing_disable()
        tiny.model.eval()
    (facts, grads), (other_facts, other_grads) = found
    for fact in ("reward", "length", "loss", "divergence"):
        assert other_facts[fact] == pytest.approx(facts[fact], rel=1e-4, abs=1e-6)
    assert grads.keys() == other_grads.keys()
    for parameter, expected in grads.items():
        torch.testing.assert_close(other_grads[parameter], expected, rtol=1e-3, atol=1e-5)


def test_the_gradient_is_that_of_rewarded_log_probabilities(learn, tiny):
    """Against the definition: each caption read alone, whole prompt, its advantage times its log-probability."""
    learner = learn(make_settings(batch=2))
    objective = SelfCritical(learner, SelfCriticalSettings(samples=3), 6, seed=0)
    reward = lambda texts, ended, clips: np.arange(len(texts)) ** 2 / 10.0  # noqa: E731 - any reward will do
    objective.reward = reward
    objective.accumulate([(0, 0), (1, 0)], step=0)
    found = gradients(learner)
    learner.system.zero_grad()
    features = learner.examples.frames([0, 1])
    with torch.no_grad():
        sampled = objective._sample([0, 1], learner.system.bind(features.x_BTA, features.mask_BT), 0)
    rewards = reward([""] * 6, [True] * 6, [0] * 6).reshape(2, 3)
    total = torch.zeros(())
    for clip in range(2):
        for place, caption in enumerate(sampled[clip]):
            others = np.delete(rewards[clip], place).mean()
            prompt = learner.examples.prompt
            past = learner.reader.head.past(1)
            ids_BS = torch.tensor([[*prompt.rest, *caption.ids[:-1]]])
            one = learner.examples.frames([clip])
            hidden = tiny.hidden(ids_BS, cache=past, fusion=learner.system.bind(one.x_BTA, one.mask_BT))
            logprob = tiny.logits(hidden[0]).log_softmax(dim=-1).gather(1, torch.tensor(caption.ids)[:, None]).sum()
            total = total - (rewards[clip, place] - others) * logprob / 6
    torch.autograd.backward(total)
    for name, expected in gradients(learner).items():
        torch.testing.assert_close(found[name], expected, rtol=1e-3, atol=1e-5)


def test_self_critical_training_raises_the_reward(learn, tmp_path):
    """A reward that any policy can learn: captions that hold the letter a."""
    settings = make_settings(scst={"steps": 25, "rate": 3.0}, evaluation={"every": 25}, batch=8)
    learner = learn(settings)
    trainer = self_critical_phase(learner, Validation(lambda: 0.0), settings, tmp_path)
    objective = trainer.objectives[0]
    assert isinstance(objective, SelfCritical)
    objective.reward = lambda texts, ended, clips: np.array([text.count("a") for text in texts], dtype=float)
    trainer.train()
    rewards = [event["reward"] for event in trainer.journal.read() if event["event"] == "step"]
    assert np.mean(rewards[-5:]) > np.mean(rewards[:5]) + 0.2


def test_a_divergence_needs_a_policy_that_can_be_kept(learn):
    learner = learn(make_settings(), "data-only")
    with pytest.raises(ConfigError, match="divergence"):
        SelfCritical(learner, SelfCriticalSettings(divergence=0.1), 6, seed=0)


@pytest.mark.parametrize("phase", ["contrastive", "scst"])
def test_every_phase_is_taken_up_again_to_the_bit(phase, learn, tmp_path):
    changes = {"contrastive": {"weight": 0.5}} if phase == "contrastive" else {"scst": {"steps": 6, "rate": 1.0}}
    settings = make_settings(**changes)

    def build(folder: str) -> Trainer:
        learner = learn(settings)
        score = lambda: float(next(learner.system.parameters()).detach().abs().sum())  # noqa: E731
        if phase == "scst":
            return self_critical_phase(learner, Validation(score), settings, tmp_path / folder)
        torch.manual_seed(5)
        addition = Contrastive(learner, settings.contrastive, embed, 4)
        return cross_entropy_phase(learner, Validation(score), settings, tmp_path / folder, [addition])

    unbroken = build("unbroken")
    unbroken.train()
    expected = unbroken.system.adapter_bytes()
    killed = build("killed")
    killed._save()
    for count, pairs in enumerate(killed._remaining()):
        if count == 3:  # the last checkpoint is that of step 2
            break
        facts = killed._step(pairs)
        killed._count_step()
        killed._after_step(facts)
    again = build("killed")
    torch.manual_seed(99)
    assert again.resume() == 2
    again.train()
    assert again.system.adapter_bytes() == expected


# --- contingencies -----------------------------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_leads_back_to_the_last_checkpoint(learn, tmp_path):
    settings = make_settings()
    learner = learn(settings)
    trainer = cross_entropy_phase(learner, Validation(lambda: 0.0), settings, tmp_path)
    objective, poisoned = trainer.objectives[0], []
    original = objective.accumulate

    def accumulate(pairs, step):
        facts = original(pairs, step)
        if step == 3 and not poisoned:
            poisoned.append(step)
            next(iter(learner.system.parameters())).grad.fill_(float("nan"))
        return facts

    objective.accumulate = accumulate
    progress = trainer.train()
    events = trainer.journal.read()
    (rolled,) = [event for event in events if event["event"] == "contingency"]
    assert (rolled["step"], rolled["action"], rolled["rate_factor"], rolled["clip_factor"]) == (2, "rollback", 0.5, 2.0)
    assert "not a number at step 4" in rolled["trigger"]
    assert (progress.step, progress.rollbacks) == (6, 1)
    steps = [event["step"] for event in events if event["event"] == "step"]
    assert steps == [1, 2, 3, 3, 4, 5, 6]
    third = [event["learning_rates"]["adapters"] for event in events if event["event"] == "step" and event["step"] == 3]
    assert third[1] == pytest.approx(third[0] / 2)
    assert all(torch.isfinite(parameter).all() for parameter in learner.system.parameters())


def test_a_loss_far_above_the_first_has_diverged(learn, tmp_path):
    settings = make_settings(contingency={"rollbacks": 0, "loss_factor": 2.0})
    trainer = cross_entropy_phase(learn(settings), Validation(lambda: 0.0), settings, tmp_path)
    trainer.progress.first_loss = 0.1
    with pytest.raises(Diverged, match=r"over 0\.20"):
        trainer.train()


def test_a_batch_whose_tokens_weigh_more_has_not_diverged(learn, tmp_path, monkeypatch):
    """Answers weigh more than captions, so the loss of a batch of answers lies far above that of one of captions."""
    settings = make_settings(contingency={"rollbacks": 0, "loss_factor": 3.0})
    learner = learn(settings)
    trainer = cross_entropy_phase(learner, Validation(lambda: 0.0), settings, tmp_path)
    collate = learner.collate

    def weighed(pairs):
        batch = collate(pairs)
        heavy = trainer.progress.step == 1
        return dataclasses.replace(batch, weights_N=torch.full((len(batch.targets_N),), 8.0)) if heavy else batch

    monkeypatch.setattr(type(learner), "collate", lambda self, pairs: weighed(pairs))
    trainer.train()
    first, second = [event for event in trainer.journal.read() if event["event"] == "step"][:2]
    assert second["loss"] > 3 * first["loss"]
    assert "mean_weight" not in first
    assert second["mean_weight"] == 8


def test_the_residual_alignment_penalty_is_one_less_the_cosine(learn, tiny):
    learner = learn(make_settings())
    batch = learner.collate([(0, 0), (1, 0)])
    context = learner.bind(batch)

    class Keep:
        def __init__(self):
            self.pairs = []

        def enter_block(self, block, h_BSD):
            result = context.enter_block(block, h_BSD)
            if result is not h_BSD:
                self.pairs.append((result, h_BSD))
            return result

    kept, watched = Keep(), ResidualAlignment(context)
    for one in (kept, watched):
        tiny.hidden(batch.ids_BS, batch.mask_BS, fusion=one)
    expected = np.mean([float((1 - functional.cosine_similarity(a, b, dim=-1)).mean()) for a, b in kept.pairs])
    assert float(watched.penalty().detach()) == pytest.approx(expected, rel=1e-5)
    assert watched.penalty().requires_grad


def test_the_residual_alignment_penalty_keeps_the_stream_nearer(learn, tmp_path):
    turned = []
    for weight in (0.0, 50.0):
        settings = make_settings(
            schedule={"steps": 20}, optimiser={"adapter_lr": 3e-3, "gate_lr": 3e-2, "residual_alignment": weight}
        )
        learner = learn(settings)
        cross_entropy_phase(learner, Validation(lambda: 0.0), settings, tmp_path / str(weight)).train()
        facts = CrossEntropy(learner, 1.0).accumulate([(clip, 0) for clip in range(8)], 0)
        learner.system.zero_grad()
        turned.append(facts["residual_drift"])
    assert turned[1] < 0.7 * turned[0]
