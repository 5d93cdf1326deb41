"""The training of the eyes: first each cell's token is fitted to words, then the frozen language model's answers teach it.

A step's images follow from its number, so training that was stopped goes on from its last checkpoint to the same bits.

Shapes: B images, C cells, D width of the language model, N predicted tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from fusion_core.journal import Journal
from fusion_core.progress import track
from fusion_core.vision import VisionBackbone
from fusion_encoders.image_projector import ImageProjector
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW

from fusion_train.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from fusion_train.eyes.answers import AnswerReader
from fusion_train.eyes.cells import SceneCells
from fusion_train.eyes.plan import EyesPlan
from fusion_train.eyes.words import CellWords
from fusion_train.tiny_vlm.lessons import Teacher, make_page
from fusion_train.visual_questions import VisualScene, example

CLIP_NORM = 1.0
_BETAS = (0.9, 0.98)
_MEASURED = 200
"""Images from which the statistics of the cells are taken."""


class EyesTraining:
    """The state of a training.

    Args:
        backbone: the model with eyes; language model and encoder are read only.
        projector: what is trained, in place.
        cells: of the images.
        plan: how long and on what.
        folder: checkpoints and log.
    """

    def __init__(
        self, backbone: VisionBackbone, projector: ImageProjector, cells: SceneCells, plan: EyesPlan, folder: Path
    ) -> None:
        self.backbone = backbone
        self.projector = projector.train().requires_grad_(True)
        self.cells = cells
        self.plan = plan
        self.folder = folder
        self.words = CellWords(backbone)
        self.reader = AnswerReader(backbone)
        self.teacher = Teacher(backbone, plan.seed)
        self.modules: dict[str, nn.Module] = {"projector": projector}
        self.optimiser = AdamW(
            projector.parameters(), lr=plan.aligning_rate, betas=_BETAS, weight_decay=plan.weight_decay
        )
        self.journal = Journal(folder / "log.jsonl")

    def run(self, announce: Callable[[str], None]) -> None:
        """Train to the end, from the last checkpoint where there is one."""
        plan = self.plan
        start = self._resume(announce)
        for step in track(range(start, plan.steps), "eyes"):
            self._step(step)
            if (step + 1) % plan.checkpoint_every == 0 or step + 1 == plan.steps:
                save_checkpoint(self.folder / "checkpoints", step + 1, self.modules, self.optimiser, {}, keep=1)
        self.projector.eval().requires_grad_(False)

    def _resume(self, announce: Callable[[str], None]) -> int:
        for path in list_checkpoints(self.folder / "checkpoints")[-1:]:
            start = int(load_checkpoint(path, self.modules, self.optimiser)["step"])
            announce(f"going on from step {start} of {self.plan.steps}")
            return start
        x_BCA = self.cells.read(self._scene(index) for index in range(min(_MEASURED, self.plan.images)))
        self.projector.standardise_by(x_BCA.mean(dim=(0, 1)), x_BCA.std(dim=(0, 1)))
        return 0

    def _scene(self, index: int) -> VisualScene:
        return example("train", self.plan.seed, index)[0]

    def _step(self, step: int) -> None:
        if step == self.plan.aligning:
            self.optimiser.state.clear()  # the moments are those of another loss
        losses = self._align(step) if step < self.plan.aligning else self._answer(step - self.plan.aligning)
        torch.autograd.backward(losses["total"])
        nn.utils.clip_grad_norm_(self.projector.parameters(), CLIP_NORM)
        for group in self.optimiser.param_groups:
            group["lr"] = self.plan.rate(step)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.journal.write("step", step=step + 1, **{name: float(value.detach()) for name, value in losses.items()})

    def _align(self, step: int) -> dict[str, Tensor]:
        """Return the distance of the tokens from the words, as a share of the words' variance."""
        generator = np.random.default_rng([self.plan.seed, step])
        chosen = generator.choice(self.plan.images, self.plan.aligned_images, replace=False).tolist()
        scenes = [self._scene(index) for index in chosen]
        words = self.words.loss(self._tokens(scenes), scenes)
        return {"total": words, "words": words}

    def _answer(self, step: int) -> dict[str, Tensor]:
        """Return the loss of the answers in nats a token and of the words, their sum, and the share of tokens that are right."""
        first = step * self.plan.answered_images
        last = first + self.plan.answered_images
        examples = [example("train", self.plan.seed, index % self.plan.images) for index in range(first, last)]
        lessons = [self.teacher.lesson([(one.text, one.answer) for one in asked], scene) for scene, asked in examples]
        page = make_page(lessons, self.backbone.pad_id)
        scenes = [scene for scene, _ in examples]
        tokens_BCD = self._tokens(scenes)
        logits_NV, targets_N = self.reader.logits(page, tokens_BCD)
        answers = functional.cross_entropy(logits_NV, targets_N)
        words = self.words.loss(tokens_BCD, scenes)
        right = (logits_NV.argmax(dim=-1) == targets_N).float().mean()
        return {"total": answers + self.plan.anchor * words, "answers": answers, "words": words, "right": right}

    def _tokens(self, scenes: list[VisualScene]) -> Tensor:
        x_BCA = self.cells.read(scenes)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.backbone.dtype == torch.bfloat16):
            tokens_BCD: Tensor = self.projector(x_BCA)
        return tokens_BCD
