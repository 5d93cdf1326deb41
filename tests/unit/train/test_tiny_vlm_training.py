"""Training of tiny-vlm: packed lessons equal prompts that stand alone, it goes on to the same bits, and the card tells of it."""

from __future__ import annotations

import pytest
import torch
from fusion_core.pretrained import load_backbone
from fusion_train.checkpoint import list_checkpoints, save_checkpoint
from fusion_train.eyes.answers import AnswerReader
from fusion_train.tiny_vlm import build as building
from fusion_train.tiny_vlm.build import build
from fusion_train.tiny_vlm.lessons import IGNORED, Teacher, make_page
from fusion_train.tiny_vlm.model import as_backbone, untrained_model
from fusion_train.tiny_vlm.training import Plan, Training
from fusion_train.visual_questions.scene import HELD_OUT

PLAN = Plan(eyes=2, steps=4, looks=4, images=2, texts=2, warmup=1, checkpoint_every=2)


@pytest.fixture(scope="module")
def tiny_vlm():
    return load_backbone("tiny-vlm")


@pytest.fixture
def training(tiny_vlm, tmp_path):
    def begin(plan: Plan = PLAN) -> Training:
        torch.manual_seed(0)
        model = untrained_model(tiny_vlm.tokenizer, plan.seed)
        return Training(model, as_backbone(model, tiny_vlm.tokenizer), plan, tmp_path)

    return begin


def weights(training: Training) -> dict[str, torch.Tensor]:
    return {f"{name}.{key}": v.clone() for name, one in training.modules.items() for key, v in one.state_dict().items()}


@torch.no_grad()
@pytest.mark.parametrize("seen", [True, False])
def test_a_question_in_a_packed_row_reads_as_if_it_stood_alone(tiny_vlm, seen):
    teacher = Teacher(tiny_vlm, 3)
    lesson = teacher.visual("train", 5) if seen else teacher.textual(1)
    page = make_page([lesson, teacher.visual("train", 6) if seen else teacher.textual(0)], tiny_vlm.pad_id)
    images = tiny_vlm.embed_images(page.pixels_B3HW) if seen else None
    packed, targets = AnswerReader(tiny_vlm).logits(page, images)
    assert targets.tolist()[:2] == list(lesson.turns[0][1][:2])
    answers = packed[: sum(len(answer) for _, answer in lesson.turns)].split([len(one) for _, one in lesson.turns])
    for (question, answer), found in zip(lesson.turns, answers, strict=True):
        ids = torch.tensor([[*lesson.head, *question, *answer[:-1]]])
        alone = tiny_vlm.hidden(ids, images_BID=None if images is None else images[:1])[0, -len(answer) :]
        torch.testing.assert_close(found, tiny_vlm.logits(alone), rtol=1e-4, atol=1e-4)


def test_targets_are_the_answers_and_prompts_are_those_used_later(tiny_vlm):
    lesson = Teacher(tiny_vlm, 3).visual("train", 5)
    page = make_page([lesson], tiny_vlm.pad_id)
    said = page.targets_BS[0][page.targets_BS[0] != IGNORED].tolist()
    assert said == [token for _, answer in lesson.turns for token in answer]
    question, answer = lesson.turns[0]
    text = tiny_vlm.tokenizer.decode(question).removesuffix(" ASSISTANT:")
    assert (*lesson.head, *question) == tiny_vlm.question(text, image=True).ids
    assert answer[-1] == tiny_vlm.end_id


def test_no_held_out_combination_is_ever_shown(tiny_vlm):
    teacher = Teacher(tiny_vlm, 0)
    shown = {item.combo for index in range(300) for item in teacher.visual("train", index, False).scene.objects}
    assert not shown & set(HELD_OUT)
    assert len(shown) == 24


def test_training_that_was_stopped_goes_on_to_the_same_bits(training, tmp_path):
    whole = training()
    whole.run(lambda _: None)
    expected = weights(whole)
    assert list_checkpoints(tmp_path)[-1].name == "step-00000004"
    list_checkpoints(tmp_path)[-1].rename(tmp_path / "later")
    stopped = training()
    for step in range(2):
        stopped._step(step)
    save_checkpoint(tmp_path, 2, stopped.modules, stopped.optimisers[0], {})
    said: list[str] = []
    resumed = training()
    resumed.run(said.append)
    assert said == ["going on from step 2 of 4"]
    found = weights(resumed)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_few_steps_teach_the_eyes(training):
    short = training(Plan(eyes=30, steps=30, looks=16, warmup=5, falling=0.0))
    short.run(lambda _: None)
    losses = [event["cells"] for event in short.journal.read() if event["event"] == "step"]
    assert sum(losses[-5:]) < 0.75 * sum(losses[:5])


def test_a_build_leaves_a_backbone_with_its_card_and_is_not_done_twice(tiny_vlm, tmp_path, monkeypatch):
    monkeypatch.setattr(building, "train_tokenizer", lambda: tiny_vlm.tokenizer)
    said: list[str] = []
    built = build(tmp_path / "model", PLAN, announce=said.append, images=4)
    assert [score.category for score in built.scores] == [
        "count",
        "colour",
        "shape",
        "relation",
        "compare",
        "existence",
    ]
    again = load_backbone(str(tmp_path / "model"))
    assert again.identity.weights_sha256 == built.weights_sha256
    card = (tmp_path / "model" / "README.md").read_text()
    assert built.weights_sha256 in card
    assert "2 steps for the eyes" in card
    told = len(said)
    assert build(tmp_path / "model", PLAN, announce=said.append) == built
    assert len(said) == told
