"""Training of eyes: what is read of a scene, what is told of it, answers that read as if they stood alone, the same bits after a
stop.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from fusion_core.backbone import BackboneIdentity
from fusion_core.errors import ConfigError
from fusion_core.pretrained import load_backbone
from fusion_core.vision import VisionBackbone
from fusion_encoders.efficientnet import EfficientNetLite0
from fusion_encoders.image_projector import ImageProjector, ImageProjectorSettings, Logits, tally
from fusion_train.checkpoint import list_checkpoints
from fusion_train.eyes.answers import AnswerReader
from fusion_train.eyes.cells import SceneCells
from fusion_train.eyes.exam import Examiner
from fusion_train.eyes.plan import Course, EyesPlan
from fusion_train.eyes.reading import ReadingCourse, surprises, truth
from fusion_train.eyes.speaking import SpeakingCourse
from fusion_train.eyes.training import CourseTraining
from fusion_train.eyes.words import begin_with_words
from fusion_train.tiny_vlm.lessons import Teacher, make_page
from fusion_train.visual_questions import CATEGORIES, VisualScene, example
from fusion_train.visual_questions.ask import NUMBERS
from fusion_train.visual_questions.scene import COLOURS, SHAPES, SIZES, SceneObject

TOLD_APART = ("count", "relation", "compare", "existence")
"""Kinds of question whose options differ in their first byte, which is all that the tiny model goes by."""
SHORT = Course(steps=3, images=2, rate=1e-2, warmup=1, weight_decay=0.01, checkpoint_every=1)
PLAN = EyesPlan(images=6, reading=SHORT, speaking=SHORT, taught=TOLD_APART)
SETTINGS = ImageProjectorSettings(width=8, hidden=16, layers=1, output=32)
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
    """A tiny language model of random weights, with places for an image."""

    image_tokens = SETTINGS.tokens
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
    """Train a projector by a course, in a folder of a name; return it with the training."""

    def run(
        course: str, name: str = "run", announce=lambda sentence: None, plan: EyesPlan = PLAN
    ) -> tuple[ImageProjector, CourseTraining]:
        torch.manual_seed(0)
        projector = ImageProjector(SETTINGS).requires_grad_(False)
        begin_with_words(projector, backbone)
        if course == "reading":
            lessons = ReadingCourse(projector.reader, SETTINGS, cells, plan)
            lessons.begin()
            trained = list(projector.reader.parameters())
        else:
            lessons = SpeakingCourse(backbone, projector, cells, plan)
            trained = [projector.said_SD, projector.words_WD]
        training = CourseTraining(course, getattr(plan, course), projector, trained, tmp_path / name)
        training.run(lessons, announce)
        return projector, training

    return run


def scene_of(*objects: SceneObject) -> VisualScene:
    grey = (0.5, 0.5, 0.5)
    return VisualScene(objects, None, len(objects), (grey, grey), "seen")


def certain(scenes) -> Logits:
    """Return the logits of a reader that is sure of what it sees, and right."""
    known = truth(scenes)
    choices = ((known.shapes_BC, SHAPES), (known.colours_BC, COLOURS), (known.sizes_BC, SIZES))
    sure = [60.0 * torch.nn.functional.one_hot(places.clamp_min(0), len(names)) for places, names in choices]
    return Logits(120.0 * known.occupied_BC - 60, *sure)


def test_an_object_is_known_by_the_cell_that_its_middle_lies_in():
    known = truth(
        [scene_of(SceneObject("cross", "blue", "large", 0.5, 0.5), SceneObject("circle", "red", "small", 0.9, 0.1))]
    )
    assert known.occupied_BC[0].nonzero().flatten().tolist() == [6, 24]
    assert [
        (SHAPES[known.shapes_BC[0, c]], COLOURS[known.colours_BC[0, c]], SIZES[known.sizes_BC[0, c]]) for c in (6, 24)
    ] == [
        ("circle", "red", "small"),
        ("cross", "blue", "large"),
    ]
    numbers = dict(zip((*SHAPES, *COLOURS, "all"), known.numbers_BK[0].tolist(), strict=True))
    assert {name: number for name, number in numbers.items() if number} == {
        "circle": 1, "cross": 1, "red": 1, "blue": 1, "all": 2
    }  # fmt: skip


def test_a_right_reader_is_not_surprised_and_one_that_takes_colours_for_others_is():
    scenes = [example("train", 0, index)[0] for index in range(8)]
    right = certain(scenes)
    assert all(float(value) < 1e-3 for value in surprises(right, truth(scenes), SETTINGS).values())
    wrong = surprises(replace(right, colours_BCX=right.colours_BCX.roll(1, dims=-1)), truth(scenes), SETTINGS)
    assert float(wrong["places"]) < 1e-3
    assert float(wrong["attributes"]) > 10
    assert float(wrong["numbers"]) > 1


def test_tokens_tell_of_each_kind_in_the_words_of_questions_and_answers(backbone):
    scene = scene_of(
        SceneObject("circle", "red", "small", 0.9, 0.1),
        SceneObject("circle", "blue", "large", 0.5, 0.5),
        SceneObject("cross", "red", "large", 0.1, 0.9),
    )
    words = [
        *NUMBERS,
        *(f"{size} {name}" for names in (COLOURS, SHAPES) for size in SIZES for name in names),
        "none",
    ]
    kinds = [
        *("free",) * SETTINGS.free,
        *SHAPES,
        *COLOURS,
        *(f"number of {kind}" for kind in (*SHAPES, *COLOURS, "all")),
    ]
    tally_SW = tally(certain([scene]).readings(), SETTINGS)[0]
    assert tally_SW.shape == (len(kinds), len(words)) == (SETTINGS.tokens, SETTINGS.words)
    told = {
        kind: [words[w] for w in row.round().nonzero().flatten()] for kind, row in zip(kinds, tally_SW, strict=True)
    }
    assert told["circle"] == ["small red", "large blue"]
    assert told["red"] == ["small circle", "large cross"]
    assert told["square"] == told["green"] == ["none"]
    assert (told["number of red"], told["number of square"], told["number of all"]) == (["2"], ["0"], ["3"])
    assert told["free"] == []
    projector = ImageProjector(SETTINGS)
    begin_with_words(projector, backbone)
    table_VD = backbone.model.get_input_embeddings().weight
    for word in ("2", "small red", "large cross"):
        first = backbone.encode(word.split()[-1])[0]
        assert torch.equal(projector.words_WD[words.index(word)], table_VD[first].float())
    assert not projector.words_WD[words.index("none")].any()


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
    tokens_BCD = torch.randn(2, SETTINGS.tokens, backbone.width) if seen else None
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


@pytest.mark.parametrize("course", ["reading", "speaking"])
def test_training_that_was_stopped_ends_in_the_same_bits(train, monkeypatch, course):
    whole, _ = train(course, "whole")
    step, stopped = CourseTraining._step, []

    def stop(training: CourseTraining, number: int, losses) -> None:
        if number == 2 and not stopped:
            stopped.append(number)
            raise KeyboardInterrupt
        step(training, number, losses)

    monkeypatch.setattr(CourseTraining, "_step", stop)
    with pytest.raises(KeyboardInterrupt):
        train(course, "parts")
    said: list[str] = []
    parts, training = train(course, "parts", said.append)
    assert said == [f"{course}: going on from step 2 of 3"]
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name
    assert [path.name for path in list_checkpoints(training.folder / "checkpoints")] == ["step-00000003"]


@pytest.mark.parametrize(
    ("course", "trained"), [("reading", "reader.leave.weight"), ("speaking", "words_WD"), ("speaking", "said_SD")]
)
def test_a_course_trains_its_own_part_and_leaves_the_language_model_as_it_was(backbone, train, course, trained):
    before = {name: value.clone() for name, value in backbone.model.state_dict().items()}
    torch.manual_seed(0)
    start = ImageProjector(SETTINGS)
    begin_with_words(start, backbone)
    projector, training = train(course)
    assert all(torch.equal(before[name], value) for name, value in backbone.model.state_dict().items())
    assert all(parameter.grad is None for parameter in backbone.model.parameters())
    assert not torch.equal(start.state_dict()[trained], projector.state_dict()[trained])
    reads = "reader." if course == "speaking" else ("said", "words")
    for name, parameter in start.named_parameters():
        assert not name.startswith(reads) or torch.equal(parameter, projector.get_parameter(name)), name
    losses = {"reading": {"places", "attributes", "numbers"}, "speaking": {"options", "wording", "right"}}[course]
    assert all(losses <= set(event) for event in training.journal.read())


def test_reading_is_learned(train):
    longer = replace(SHORT, steps=60, images=6, checkpoint_every=60)
    _, training = train("reading", plan=replace(PLAN, reading=longer))
    losses = [event["total"] for event in training.journal.read()]
    assert losses[-1] < 0.5 * losses[0]


def test_a_rate_rises_and_falls():
    rates = [replace(SHORT, steps=100, warmup=10).rate_at(step) for step in range(100)]
    assert max(rates) == pytest.approx(SHORT.rate, rel=0.03)
    assert rates[0] < 0.2 * SHORT.rate
    assert rates[-1] < 0.01 * SHORT.rate


def test_an_exam_counts_every_question_beside_blind_and_chance(backbone, cells):
    asked = []
    for index in range(PLAN.images):
        scene, questions = example("train", PLAN.seed, index)
        asked.append((scene, [question for question in questions if question.category in TOLD_APART]))
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
