"""What was learned: accuracy on images of the test split, by kind of question, beside blind and chance.

Shapes: N questions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from fusion_core.progress import track
from fusion_core.vision import VisionBackbone
from torch import Tensor

from fusion_train.backbone_builders import CategoryScore
from fusion_train.eyes.answers import AnswerReader, option_tokens
from fusion_train.tiny_vlm.lessons import Teacher, make_page
from fusion_train.visual_questions import CATEGORIES, VisualQuestion, VisualScene

_AT_ONCE = 8


class Images(Protocol):
    """Gives what a projector makes tokens of."""

    def read(self, scenes: Iterable[VisualScene]) -> Tensor:
        """Return the scenes as the projector takes them, one row a scene."""
        ...


@dataclass(frozen=True)
class _Mark:
    category: str
    right: bool
    greedy: bool
    blind: bool
    chance: float


class Examiner:
    """Asks questions and counts right answers; options are told apart by their first tokens.

    Args:
        backbone: the model with eyes.
        images: gives the scenes that are asked about.
    """

    def __init__(self, backbone: VisionBackbone, images: Images) -> None:
        self.backbone = backbone
        self.images = images
        self.reader = AnswerReader(backbone)
        self.teacher = Teacher(backbone, 0)

    @torch.no_grad()
    def examine(
        self, projector: torch.nn.Module, scenes: Sequence[tuple[VisualScene, Sequence[VisualQuestion]]]
    ) -> tuple[CategoryScore, ...]:
        """Return the scores of all kinds of question, in the order of ``CATEGORIES``."""
        projector.eval()
        marks: list[_Mark] = []
        parts = [scenes[start : start + _AT_ONCE] for start in range(0, len(scenes), _AT_ONCE)]
        for part in track(parts, "exam"):
            questions = [question for _, asked in part for question in asked]
            tokens_BCD = projector(self.images.read(scene for scene, _ in part))
            seen_NV, blind_NV = self._logits(part, tokens_BCD), self._logits(part, None)
            for question, seen_V, blind_V in zip(questions, seen_NV, blind_NV, strict=True):
                right, greedy = self._mark(question, seen_V)
                blind = self._mark(question, blind_V)[0]
                marks.append(_Mark(question.category, right, greedy, blind, 1 / len(question.options)))
        return tuple(_score(category, [mark for mark in marks if mark.category == category]) for category in CATEGORIES)

    def _logits(
        self, part: Sequence[tuple[VisualScene, Sequence[VisualQuestion]]], tokens_BCD: Tensor | None
    ) -> Tensor:
        lessons = []
        for scene, asked in part:
            pairs = [(question.text, question.answer) for question in asked]
            lesson = self.teacher.lesson(pairs, None if tokens_BCD is None else scene)
            lessons.append(replace(lesson, turns=tuple((ids, answer[:1]) for ids, answer in lesson.turns)))
        return self.reader.logits(make_page(lessons, self.backbone.pad_id), tokens_BCD)[0]

    def _mark(self, question: VisualQuestion, logits_V: Tensor) -> tuple[bool, bool]:
        """Say whether the likeliest option is right, and whether greedy decoding begins with the answer."""
        first = option_tokens(self.backbone, question)
        chosen = question.options[int(logits_V[first].argmax())]
        answer = first[question.options.index(question.answer)]
        return chosen == question.answer, int(logits_V.argmax()) == answer


def _score(category: str, marks: Sequence[_Mark]) -> CategoryScore:
    columns = ("right", "greedy", "blind", "chance")
    means = {name: sum(getattr(mark, name) for mark in marks) / max(1, len(marks)) for name in columns}
    return CategoryScore(category, len(marks), means["right"], means["greedy"], means["blind"], means["chance"])
