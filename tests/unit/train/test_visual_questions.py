"""Procedural scenes, their images and questions: right by construction, balanced, split apart, the same everywhere."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter

import numpy as np
import pytest
from fusion_train.text_questions import text_questions
from fusion_train.visual_questions import CATEGORIES, SPLITS, VisualScene, ask, example, render
from fusion_train.visual_questions.render import PALETTE
from fusion_train.visual_questions.scene import COLOURS, HELD_OUT, SHAPES, SceneObject, owner

EXAMPLES = 400


@pytest.fixture(scope="module")
def train() -> list[tuple[VisualScene, list]]:
    return [example("train", 0, index) for index in range(EXAMPLES)]


@pytest.fixture(scope="module")
def held() -> list[tuple[VisualScene, list]]:
    return [example("test", 0, index) for index in range(120)]


def circle(colour: str, x: float, y: float, shape: str = "circle", size: str = "small") -> SceneObject:
    return SceneObject(shape, colour, size, x, y)


def scene(*objects: SceneObject, theme: str | None = None) -> VisualScene:
    ground = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    return VisualScene(objects, theme, 0, ground, "seen")


def test_held_out_combinations_are_fair():
    assert Counter(colour for _, colour in HELD_OUT) == dict.fromkeys(COLOURS, 1)
    assert Counter(shape for shape, _ in HELD_OUT) == dict.fromkeys(SHAPES, 2)


def test_an_example_depends_on_its_index_alone(train):
    assert example("train", 0, 7) == train[7]
    assert example("train", 1, 7) != train[7]


def test_scenes_belong_to_their_split_alone(train, held):
    assert all(owner(scene) == "train" for scene, _ in train)
    assert all(owner(scene) == "test" for scene, _ in held)
    assert not {scene.layout() for scene, _ in train} & {scene.layout() for scene, _ in held}
    for scene, _ in train:
        assert not {item.combo for item in scene.objects} & set(HELD_OUT)
    for scene, _ in held:
        assert (scene.combination == "held_out") == bool({item.combo for item in scene.objects} & set(HELD_OUT))
    assert 0.35 < np.mean([scene.combination == "held_out" for scene, _ in held]) < 0.65
    assert owner(example("val", 0, 0)[0]) == "val"


def test_objects_lie_inside_and_apart(train):
    for scene, _ in train:
        for item in scene.objects:
            assert item.radius <= item.x <= 1 - item.radius
            assert item.radius <= item.y <= 1 - item.radius
        for a, b in itertools.combinations(scene.objects, 2):
            assert max(abs(a.x - b.x), abs(a.y - b.y)) > a.radius + b.radius


def test_answers_are_options_and_balanced(train):
    answers: dict[str, Counter[str]] = {kind: Counter() for kind in CATEGORIES}
    for _, questions in train:
        assert [q.category for q in questions] == [k for k in CATEGORIES if k in {q.category for q in questions}]
        for question in questions:
            assert question.answer in question.options
            answers[question.category][question.answer] += 1
    for kind, found in answers.items():
        share = 1 / {"count": 6, "colour": 8, "shape": 4}.get(kind, 2)
        spread = np.sqrt(share * (1 - share) / found.total())
        assert all(abs(number / found.total() - share) < 4 * spread for number in found.values()), (kind, found)
        assert found.total() > 0.7 * EXAMPLES


def test_questions_are_answered_by_the_objects(train, held):
    for scene, questions in [*train, *held]:
        for question in questions:
            words = question.text.rstrip("?").split()
            if question.category == "existence":
                there = any(item.combo == (words[-1], words[-2]) for item in scene.objects)
                assert question.answer == ("yes" if there else "no")
            if question.category == "relation":
                cut = words.index("left") if "left" in words else words.index("above")
                first, second = (words[2], words[3]), (words[-2], words[-1])
                (a,) = (item for item in scene.objects if (item.colour, item.shape) == first)
                (b,) = (item for item in scene.objects if (item.colour, item.shape) == second)
                before = a.x < b.x if words[cut] == "left" else a.y < b.y
                assert question.answer == ("yes" if before else "no")
            if question.category == "colour":
                named = [i for i in scene.objects if i.shape == words[-1] and (len(words) == 5 or i.size == words[-2])]
                assert [item.colour for item in named] == [question.answer]


def test_what_has_no_name_of_its_own_is_not_asked_about():
    twins = scene(circle("red", 0.2, 0.2), circle("red", 0.8, 0.8), theme="circle")
    asked = {question.category: question for question in ask(twins, np.random.default_rng(0))}
    assert not {"colour", "shape", "relation"} & set(asked)
    assert asked["count"].text == "How many circles are there?"
    assert asked["count"].answer == "2"


def test_an_image_shows_each_object_in_its_colour_and_shape():
    shown = [circle(colour, 0.25 + 0.5 * (place % 2), 0.25 + 0.5 * (place // 2), shape, "large")
             for place, (colour, shape) in enumerate(zip(COLOURS, SHAPES, strict=False))]  # fmt: skip
    image = render(scene(*shown), 100)
    for item in shown:
        wanted = np.round(np.array(PALETTE[item.colour]) * 255)
        assert np.abs(image[round(item.y * 100), round(item.x * 100)] - wanted).max() <= 1
        covered = (np.abs(image.astype(int) - wanted).max(axis=-1) <= 1).mean() / (2 * item.radius) ** 2
        area = {"circle": np.pi / 4, "square": 0.74, "triangle": 0.5, "cross": 0.56}[item.shape]
        assert covered == pytest.approx(area, abs=0.1)


@pytest.mark.parametrize("size", [32, 224])
def test_an_image_has_the_size_and_is_the_same_again(size):
    scene, _ = example("test", 0, 0)
    image = render(scene, size)
    assert image.shape == (size, size, 3)
    assert np.array_equal(image, render(scene, size))


def test_pixels_are_those_that_results_were_reported_on():
    digest = hashlib.sha256(b"".join(render(example(split, 0, 0)[0], 32).tobytes() for split in SPLITS)).hexdigest()
    assert digest == "6bb81d7a09b5a773e2dfa9fda665d38f69337e75638e11fa4aa985fa192458a9"


def test_too_small_an_image_is_refused():
    with pytest.raises(ValueError, match="16"):
        render(scene(circle("red", 0.5, 0.5)), 8)


def test_text_questions_are_fixed_and_sound():
    questions = text_questions()
    assert len(questions) == 170
    assert len({question.text for question in questions}) == len({q.question_id for q in questions}) == 170
    assert all(question.image is None and question.answer in question.options for question in questions)
    assert all(len(question.answer.split()) == 1 for question in questions)
    places = Counter(q.options.index(q.answer) for q in questions if len(q.options) == 4)
    assert max(places.values()) - min(places.values()) <= 4
