"""Lessons: an image (or none) with several questions and answers, packed into one row so that the image is read once for all.

Every question sees the head of the row (the image) and itself, and counts its positions from the head's end: to the model it
is as if it stood alone, exactly as in the prompt that is used later.

Shapes: B rows, S positions, H and W pixels, O objects of all images.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from fusion_core.vision import VisionBackbone
from torch import Tensor

from fusion_train.text_questions import text_questions
from fusion_train.tiny_vlm.language import captions
from fusion_train.tiny_vlm.model import SIDE
from fusion_train.visual_questions import Split, VisualQuestion, VisualScene, ask, example, render

IGNORED = -100
_QUESTIONS = 5  # text questions, and
_CAPTIONS = 4  # captions of a row without an image
_SECOND_DRAW = 1  # which of an image's streams of random numbers asks again


@dataclass(frozen=True)
class Lesson:
    """One row: what comes first, then questions with their answers, in tokens.

    ``scene`` is what the image shows; None where there is no image.
    """

    head: tuple[int, ...]
    turns: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    scene: VisualScene | None = None


@dataclass(frozen=True)
class Page:
    """Lessons as tensors; those with an image come first.

    Attributes:
        ids_BS: tokens.
        positions_BS: what rotary positions count.
        sees_B1SS: True where a position (third axis) may look at another (fourth).
        targets_BS: the next token where it belongs to an answer, else ``IGNORED``.
        pixels_B3HW: of the lessons that have an image.
        scenes: what they show.
    """

    ids_BS: Tensor
    positions_BS: Tensor
    sees_B1SS: Tensor
    targets_BS: Tensor
    pixels_B3HW: Tensor
    scenes: tuple[VisualScene, ...]


class Teacher:
    """Makes the lessons of a run, each from its number alone.

    Args:
        backbone: whose prompt and tokens are used.
        seed: of all draws.
    """

    def __init__(self, backbone: VisionBackbone, seed: int) -> None:
        self.backbone = backbone
        self.seed = seed

    def visual(self, split: Split, index: int, with_questions: bool = True) -> Lesson:
        """Return an image of a split with its questions, asked twice so that more of the image is asked about."""
        if not with_questions:
            return Lesson((), (), example(split, self.seed, index)[0])
        scene, questions = questions_of(split, self.seed, index)
        return self.lesson([(one.text, one.answer) for one in questions], scene)

    def textual(self, index: int) -> Lesson:
        """Return a row without an image: questions of the fixed list, or captions."""
        generator = np.random.default_rng([self.seed, index])
        if index % 2:
            items = [text_questions()[i] for i in generator.integers(len(text_questions()), size=_QUESTIONS)]
            return self.lesson([(item.text, item.answer) for item in items])
        chosen = generator.integers(len(captions()), size=_CAPTIONS)
        return self.lesson([("Describe the sound.", captions()[i]) for i in chosen])

    def lesson(self, pairs: Iterable[tuple[str, str]], scene: VisualScene | None = None) -> Lesson:
        """Return questions with their answers in one row, about an image or without one."""
        backbone, seen = self.backbone, scene is not None
        head = prompt_head(backbone, seen)
        turns = []
        for text, answer in pairs:
            ids = backbone.question(text, seen).ids
            said = backbone.tokenizer(answer, add_special_tokens=False)["input_ids"]
            turns.append((ids[len(head) :], (*said, backbone.end_id)))
        return Lesson(tuple(head), tuple(turns), scene)


def questions_of(split: Split, seed: int, index: int) -> tuple[VisualScene, list[VisualQuestion]]:
    """Return a scene of a split with its questions, drawn twice and each kept once."""
    scene, questions = example(split, seed, index)
    again = ask(scene, np.random.default_rng([seed, index, _SECOND_DRAW]))
    return scene, list({one.text: one for one in (*questions, *again)}.values())


def prompt_head(backbone: VisionBackbone, image: bool) -> list[int]:
    """Return the tokens that the prompts of all questions begin with, with or without an image."""
    before = backbone.ask("?", image).partition("?")[0]
    return backbone.encode(before.rstrip(" "))  # a space belongs to the word after it


def make_page(lessons: Sequence[Lesson], pad_id: int) -> Page:
    """Build the tensors of some lessons."""
    lessons = sorted(lessons, key=lambda lesson: lesson.scene is None)
    rows = [_row(lesson) for lesson in lessons]
    length = max(len(row[0]) for row in rows)
    ids, positions, parts, targets = (
        torch.tensor([[*row[place], *[filler] * (length - len(row[0]))] for row in rows])
        for place, filler in enumerate((pad_id, 0, -1, IGNORED))
    )
    same_BSS = (parts[:, :, None] == parts[:, None]) | (parts[:, None] == 0)
    sees_B1SS = (same_BSS & torch.ones(length, length, dtype=torch.bool).tril())[:, None]
    scenes = tuple(lesson.scene for lesson in lessons if lesson.scene is not None)
    return Page(ids, positions, sees_B1SS, targets, pixels_of(scenes), scenes)


def _row(lesson: Lesson) -> tuple[list[int], list[int], list[int], list[int]]:
    """Return tokens, positions, the part of the row that each belongs to (0 the head), and targets."""
    ids = list(lesson.head)
    positions = list(range(len(ids)))
    parts = [0] * len(ids)
    targets = [IGNORED] * len(ids)
    for number, (question, answer) in enumerate(lesson.turns, start=1):
        words = [*question, *answer[:-1]]
        ids += words
        positions += range(len(lesson.head), len(lesson.head) + len(words))
        parts += [number] * len(words)
        targets += [*[IGNORED] * (len(question) - 1), *answer]
    return ids, positions, parts, targets


def pixels_of(scenes: Sequence[VisualScene]) -> Tensor:
    """Return the images of some scenes, in uint8."""
    if not scenes:
        return torch.zeros(0, 3, SIDE, SIDE, dtype=torch.uint8)
    return torch.stack([torch.from_numpy(render(scene, SIDE)).permute(2, 0, 1) for scene in scenes])
