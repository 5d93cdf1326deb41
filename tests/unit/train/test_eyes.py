"""Training of eyes: what cells are fitted to, answers that read as if they stood alone, the same bits after a stop."""

from __future__ import annotations

import pytest
import torch
from fusion_core.backbone import BackboneIdentity
from fusion_core.errors import ConfigError
from fusion_core.pretrained import load_backbone
from fusion_core.vision import VisionBackbone
from fusion_encoders.efficientnet import EfficientNetLite0
from fusion_encoders.image_projector import ImageProjector, ImageProjectorSettings
from fusion_train.checkpoint import list_checkpoints
from fusion_train.eyes.answers import AnswerReader
from fusion_train.eyes.cells import SceneCells
from fusion_train.eyes.exam import Examiner
from fusion_train.eyes.plan import EyesPlan
from fusion_train.eyes.training import EyesTraining
from fusion_train.eyes.words import KINDS, WORDS, CellWords
from fusion_train.tiny_vlm.lessons import Teacher, make_page
from fusion_train.visual_questions import CATEGORIES, VisualScene, example
from fusion_train.visual_questions.scene import COLOURS, SceneObject

PLAN = EyesPlan(images=6, aligning=2, aligned_images=3, answering=2, answered_images=2, warmup=1, checkpoint_every=1)
SETTINGS = ImageProjectorSettings(width=8, hidden=16, layers=1, heads=2, output=32)
MARK = "~"  # a byte that no question has


class CoarseEncoder:
    """Stands for the image encoder: the mean colour of each cell, repeated up to the width."""

    name = "coarse"
    width = SETTINGS.width
    preprocessing = EfficientNetLite0.preprocessing

    def fingerprint(self) -> str:
        return "coarse"

    def encode(self, pixels_B3HW):
        means_B3C = torch.nn.functional.adaptive_avg_pool2d(pixels_B3HW.float(), 7).flatten(2)
        return means_B3C.mT.repeat(1, 1, 3)[..., : self.width]


class RandomEyes(VisionBackbone):
    """A tiny language model of random weights, with 49 places for an image."""

    image_tokens = 49
    image_size = 224

    def __init__(self) -> None:
        language = load_backbone("tiny-random")
        super().__init__(language.model, language.tokenizer, BackboneIdentity("random-eyes", "0" * 64))
        self.image_token_id = self.tokenizer.convert_tokens_to_ids(MARK)

    def embed_images(self, pixels_B3HW):
        raise AssertionError("cells are read from the store")

    def ask(self, question, image):
        return self.chat(f"Look: {MARK * self.image_tokens}\n{question}" if image else question)


@pytest.fixture(scope="module")
def backbone() -> RandomEyes:
    return RandomEyes()


@pytest.fixture
def cells(tmp_path, monkeypatch) -> SceneCells:
    monkeypatch.setenv("FUSION_CACHE", str(tmp_path / "cache"))
    cells = SceneCells(CoarseEncoder())
    cells.fill([example("train", PLAN.seed, index)[0] for index in range(PLAN.images)])
    return cells


@pytest.fixture
def train(backbone, cells, tmp_path):
    def begin(name: str = "run", plan: EyesPlan = PLAN) -> EyesTraining:
        torch.manual_seed(0)
        return EyesTraining(backbone, ImageProjector(SETTINGS), cells, plan, tmp_path / name)

    return begin


def scene_of(*objects: SceneObject) -> VisualScene:
    grey = (0.5, 0.5, 0.5)
    return VisualScene(objects, None, len(objects), (grey, grey), "seen")


def test_an_object_names_the_cells_it_covers_and_the_others_count(backbone):
    scene = scene_of(
        SceneObject("circle", "red", "large", 0.5, 0.5), SceneObject("circle", "blue", "small", 0.93, 0.07)
    )
    weights_CW, tells_C = CellWords(backbone).weights(scene)
    assert tells_C.nonzero().flatten().tolist() == [6, 24]
    said = [[WORDS[index] for index in row.nonzero().flatten().tolist()] for row in weights_CW]
    assert said[6] == ["circle", "blue"]
    assert said[24] == ["circle", "red"]
    assert KINDS[0] == "circle"
    assert said[0] == ["circles", "2"]
    assert said[KINDS.index("blue")] == ["blue", "objects", "1"]
    assert said[KINDS.index("objects")] == ["objects", "2"]
    assert said[len(KINDS) + KINDS.index("square")] == ["squares", "0"]


def test_tokens_that_are_the_words_cost_nothing_and_another_colour_surprises(backbone):
    words = CellWords(backbone)
    words.embeddings_WD = (
        torch.nn.functional.one_hot(torch.arange(len(WORDS)), backbone.width) * 10.0
    )  # told apart with ease
    scenes = [example("train", 0, index)[0] for index in range(3)]
    weights_BCW = torch.stack([words.weights(scene)[0] for scene in scenes])
    assert float(words.loss(weights_BCW @ words.embeddings_WD, scenes)) < 1e-6
    others_BCW = weights_BCW.clone()
    colours = slice(WORDS.index(COLOURS[0]), WORDS.index(COLOURS[-1]) + 1)
    others_BCW[..., colours] = weights_BCW[..., colours].roll(1, dims=-1)
    assert float(words.loss(others_BCW @ words.embeddings_WD, scenes)) > 100


def test_cells_are_encoded_once_and_read_as_they_were(cells, monkeypatch):
    scenes = [example("train", PLAN.seed, index)[0] for index in range(PLAN.images)]
    monkeypatch.setattr(CoarseEncoder, "encode", lambda *_: pytest.fail("encoded again"))
    cells.fill(scenes)
    x_BCA = SceneCells(CoarseEncoder()).read(scenes)
    assert x_BCA.shape == (PLAN.images, 49, SETTINGS.width)
    assert not torch.equal(x_BCA[0], x_BCA[1])


@pytest.mark.parametrize("seen", [True, False])
def test_answers_read_with_a_shared_head_are_those_of_each_prompt_alone(backbone, seen):
    teacher = Teacher(backbone, 0)
    lessons = [teacher.visual("train", index) for index in (1, 2)]
    if not seen:
        lessons = [teacher.lesson([("Is it red?", "no"), ("How many?", "3")]) for _ in lessons]
    tokens_BCD = torch.randn(2, 49, backbone.width) if seen else None
    with torch.no_grad():
        logits_NV, targets_N = AnswerReader(backbone).logits(make_page(lessons, backbone.pad_id), tokens_BCD)
        alone = []
        for row, lesson in enumerate(lessons):
            for question, answer in lesson.turns:
                ids = torch.tensor([[*lesson.head, *question, *answer[:-1]]])
                hidden = backbone.hidden(ids, images_BID=None if tokens_BCD is None else tokens_BCD[row : row + 1])
                alone.append(backbone.logits(hidden[0, -len(answer) :]))
    assert targets_N.tolist() == [token for lesson in lessons for _, answer in lesson.turns for token in answer]
    torch.testing.assert_close(logits_NV, torch.cat(alone), rtol=1e-4, atol=1e-4)


def test_training_that_was_stopped_ends_in_the_same_bits(train, monkeypatch):
    whole = train("whole")
    whole.run(lambda sentence: None)
    step, steps = EyesTraining._step, []

    def stop(training: EyesTraining, number: int) -> None:
        if number == 3 and not steps:
            steps.append(number)
            raise KeyboardInterrupt
        step(training, number)

    monkeypatch.setattr(EyesTraining, "_step", stop)
    with pytest.raises(KeyboardInterrupt):
        train("parts").run(lambda sentence: None)
    parts, said = train("parts"), []
    parts.run(said.append)
    assert said == ["going on from step 3 of 4"]
    for name, value in whole.projector.state_dict().items():
        assert torch.equal(value, parts.projector.state_dict()[name]), name
    assert [path.name for path in list_checkpoints(parts.folder / "checkpoints")] == ["step-00000004"]


def test_training_leaves_the_language_model_as_it_was(backbone, train):
    before = {name: value.clone() for name, value in backbone.model.state_dict().items()}
    training = train()
    start = {name: value.clone() for name, value in training.projector.state_dict().items()}
    training.run(lambda sentence: None)
    assert all(torch.equal(before[name], value) for name, value in backbone.model.state_dict().items())
    assert all(parameter.grad is None for parameter in backbone.model.parameters())
    assert not torch.equal(start["leave.weight"], training.projector.leave.weight)
    events = training.journal.read()
    assert [sorted({"words", "answers", "right"} & set(event)) for event in events] == [
        ["words"],
        ["words"],
        ["answers", "right", "words"],
        ["answers", "right", "words"],
    ]


def test_both_parts_of_a_plan_rise_and_fall():
    plan = EyesPlan(aligning=100, answering=50, warmup=10)
    rates = [plan.rate(step) for step in range(plan.steps)]
    assert max(rates[:100]) == pytest.approx(plan.aligning_rate, rel=0.03)
    assert max(rates[100:]) == pytest.approx(plan.answering_rate, rel=0.1)
    assert rates[99] < 0.01 * plan.aligning_rate
    assert rates[100] < 0.2 * plan.answering_rate


def test_an_exam_counts_every_question_beside_blind_and_chance(backbone, cells):
    told_apart = set(CATEGORIES) - {"colour", "shape"}  # by the first byte
    asked = []
    for index in range(PLAN.images):
        scene, questions = example("train", PLAN.seed, index)
        asked.append((scene, [question for question in questions if question.category in told_apart]))
    scores = Examiner(backbone, cells).examine(ImageProjector(SETTINGS), asked)
    by_name = {score.category: score for score in scores}
    assert list(by_name) == list(CATEGORIES)
    for name, score in by_name.items():
        assert score.questions == sum(question.category == name for _, questions in asked for question in questions)
        assert (
            0 <= min(score.accuracy, score.blind, score.greedy) <= max(score.accuracy, score.blind, score.greedy) <= 1
        )
    assert by_name["count"].chance == pytest.approx(1 / 6)
    assert by_name["existence"].chance == pytest.approx(1 / 2)


def test_options_that_begin_alike_are_refused(backbone, cells):
    scene, questions = next(
        (scene, [question])
        for scene, asked in (example("train", PLAN.seed, index) for index in range(PLAN.images))
        for question in asked
        if question.category == "colour"
    )
    with pytest.raises(ConfigError, match="begin with the same token"):
        Examiner(backbone, cells).examine(ImageProjector(SETTINGS), [(scene, questions)])
