"""The second course: the vectors that tell the language model what was read are taught by its answers; what reads stays as it is.

Shapes: B images, C cells, S tokens, W words, D width of the language model, N predicted tokens, V vocabulary.
"""

from __future__ import annotations

import torch
from fusion_core.vision import VisionBackbone
from fusion_encoders.image_projector import ImageProjector, tally
from torch import Tensor
from torch.nn import functional

from fusion_train.eyes.answers import AnswerReader, option_tokens
from fusion_train.eyes.cells import SceneCells
from fusion_train.eyes.plan import EyesPlan
from fusion_train.tiny_vlm.lessons import Teacher, make_page, questions_of
from fusion_train.visual_questions import VisualQuestion, VisualScene


class SpeakingCourse:
    """Gives the losses of the words' steps.

    Args:
        backbone: the model with eyes; the language model is read only.
        projector: its words are taught, its reader is read only.
        cells: of the images.
        plan: on what, and how long.
    """

    def __init__(self, backbone: VisionBackbone, projector: ImageProjector, cells: SceneCells, plan: EyesPlan) -> None:
        self.backbone = backbone
        self.projector = projector
        self.cells = cells
        self.plan = plan
        self.answers = AnswerReader(backbone)
        self.teacher = Teacher(backbone, plan.seed)

    def losses(self, step: int) -> dict[str, Tensor]:
        """Return the losses of a step in nats an answer, their sum as ``total``, and how often the likeliest option is right."""
        first = step * self.plan.speaking.images
        asked = [
            questions_of("train", self.plan.seed, index % self.plan.images)
            for index in range(first, first + self.plan.speaking.images)
        ]
        kept = [(scene, [one for one in some if one.category in self.plan.taught]) for scene, some in asked]
        lessons = [self.teacher.lesson([(one.text, one.answer) for one in some], scene) for scene, some in kept]
        logits_NV, targets_N = self.answers.logits(
            make_page(lessons, self.backbone.pad_id), self._tokens([scene for scene, _ in kept])
        )
        opening = functional.pad(targets_N[:-1] == self.backbone.end_id, (1, 0), value=True)
        options, right = self._options(logits_NV[opening], [one for _, some in kept for one in some])
        wording = functional.cross_entropy(logits_NV, targets_N)
        return {"total": options + self.plan.wording * wording, "options": options, "wording": wording, "right": right}

    def _options(self, logits_NV: Tensor, questions: list[VisualQuestion]) -> tuple[Tensor, Tensor]:
        """Return the mean surprise at the answer among the options, and how often it is the likeliest of them."""
        surprise, right = [], []
        for logits_V, question in zip(logits_NV, questions, strict=True):
            place = question.options.index(question.answer)
            found = logits_V[option_tokens(self.backbone, question)].log_softmax(dim=-1)
            surprise.append(-found[place])
            right.append(found.argmax() == place)
        return torch.stack(surprise).mean(), torch.stack(right).float().mean()

    def _tokens(self, scenes: list[VisualScene]) -> Tensor:
        self.projector.reader.eval()  # it is read only: nothing is dropped
        with torch.no_grad():
            tally_BSW = tally(self.projector.reader(self.cells.read(scenes)).readings(), self.projector.settings)
        return self.projector.speak(tally_BSW)
