"""The training of tiny-vlm: first the eyes alone, by what lies in each cell; then all of it, by answers and cells together.

Matrices of the blocks are trained by Muon (Jordan et al., 2024), everything else by AdamW; the rate is even, then falls to 0.
Products are computed in bf16, which takes a third off a step on CPUs that have it.
A step's lessons follow from its number, so training that was stopped goes on from its last checkpoint to the same bits.

Shapes: B rows, S positions, I cells of an image, D width, N predicted tokens.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fusion_core.journal import Journal
from fusion_core.llava import LlavaBackbone
from fusion_core.progress import track
from torch import Tensor, nn
from torch.nn import functional

from fusion_train.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from fusion_train.tiny_vlm.cells import CellReader
from fusion_train.tiny_vlm.lessons import Page, Teacher, make_page
from fusion_train.visual_questions.scene import COLOURS, SHAPES

WEIGHT_DECAY = 0.01
CLIP_NORM = 1.0
_BETAS = (0.9, 0.98)


@dataclass(frozen=True)
class Plan:
    """How long and on what.

    Attributes:
        eyes: steps for the eyes alone.
        steps: all steps, those included.
        looks: images of a step for the eyes alone.
        images: images with questions of a later step.
        texts: rows without an image of a later step.
        rate: learning rate.
        warmup: steps with a rising rate, in either part.
        falling: share of the later steps in which the rate falls to 0.
        cells: weight of what lies in the cells, beside the answers.
        checkpoint_every: steps.
        seed: of weights and lessons.
    """

    eyes: int = 300
    steps: int = 1900
    looks: int = 64
    images: int = 20
    texts: int = 3
    rate: float = 3e-3
    warmup: int = 40
    falling: float = 0.4
    cells: float = 0.2
    checkpoint_every: int = 100
    seed: int = 0

    def factor(self, step: int) -> float:
        """Return the share of the rate at a step."""
        since = step if step < self.eyes else step - self.eyes
        rising = min(1.0, (since + 1) / self.warmup)
        fall = max(1.0, self.falling * (self.steps - self.eyes))
        return min(rising, (self.steps - step) / fall)


class Training:
    """The state of a training.

    Args:
        model: the ``LlavaForConditionalGeneration``, trained in place.
        backbone: the same model with prompt and tokenizer.
        plan: how long and on what.
        folder: checkpoints and log.
    """

    def __init__(self, model: Any, backbone: LlavaBackbone, plan: Plan, folder: Path) -> None:
        self.model = model.train().requires_grad_(True)
        self.backbone = backbone
        self.plan = plan
        self.teacher = Teacher(backbone, plan.seed)
        token = backbone.tokenizer.convert_tokens_to_ids
        self.reader = CellReader([token(word) for word in (*COLOURS, *SHAPES)])
        self.modules: dict[str, nn.Module] = {"model": _Untied(model), "reader": self.reader}
        self.optimisers = _optimisers(self.modules, plan.rate)
        self.folder = folder
        self.journal = Journal(folder / "log.jsonl")

    def run(self, announce: Callable[[str], None]) -> None:
        """Train to the end, from the last checkpoint where there is one."""
        start = 0
        for path in list_checkpoints(self.folder)[-1:]:
            start = int(load_checkpoint(path, self.modules, self.optimisers[0])["step"])
            announce(f"going on from step {start} of {self.plan.steps}")
        since = time.process_time()
        for step in track(range(start, self.plan.steps), "tiny-vlm"):
            self._step(step)
            if (step + 1) % self.plan.checkpoint_every == 0 or step + 1 == self.plan.steps:
                save_checkpoint(self.folder, step + 1, self.modules, self.optimisers[0], {}, keep=1)
                self.journal.write("checkpoint", step=step + 1, seconds=round(time.process_time() - since, 1))
                since = time.process_time()
        self.model.eval().requires_grad_(False)

    def seconds(self) -> float:
        """Return how long one core would have computed what led here, interruptions left out, in s."""
        return sum(float(event["seconds"]) for event in self.journal.read() if event["event"] == "checkpoint")

    def _step(self, step: int) -> None:
        page = self._page(step)
        with torch.autocast("cpu", torch.bfloat16):
            total, losses = self._losses(page, with_answers=step >= self.plan.eyes)
        torch.autograd.backward(total)
        nn.utils.clip_grad_norm_([p for module in self.modules.values() for p in module.parameters()], CLIP_NORM)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = self.plan.rate * self.plan.factor(step)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        self.journal.write("step", step=step + 1, **{name: float(value.detach()) for name, value in losses.items()})

    def _losses(self, page: Page, with_answers: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what is made smaller, and its parts."""
        tokens_BID = torch.stack(self.model.get_image_features(pixel_values=self._pixels(page)).pooler_output)
        cells = self.reader.loss(tokens_BID, self.model.get_input_embeddings().weight, page.scenes)
        if not with_answers:
            return cells, {"cells": cells}
        answers, right = self._answers(page, tokens_BID)
        return answers + self.plan.cells * cells, {"cells": cells, "answers": answers, "right": right}

    def _page(self, step: int) -> Page:
        plan = self.plan
        if step < plan.eyes:
            numbers = range(step * plan.looks, (step + 1) * plan.looks)
            return make_page([self.teacher.visual("train", number, with_questions=False) for number in numbers], 0)
        since = step - plan.eyes
        first = plan.eyes * plan.looks + since * plan.images
        lessons = [self.teacher.visual("train", number) for number in range(first, first + plan.images)]
        lessons += [self.teacher.textual(number) for number in range(since * plan.texts, (since + 1) * plan.texts)]
        return make_page(lessons, self.backbone.pad_id)

    def _pixels(self, page: Page) -> Tensor:
        if self.backbone.preprocessing is None:
            raise ValueError("an outline cannot be trained")
        return self.backbone.preprocessing.prepare(page.pixels_B3HW)

    def _answers(self, page: Page, tokens_BID: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss of the answers in nats a token, and the share of tokens that are right."""
        words_BSD = self.model.get_input_embeddings()(page.ids_BS)
        places_BS1 = (page.ids_BS == self.backbone.image_token_id)[..., None]
        mask_B1SS = torch.zeros(page.sees_B1SS.shape).masked_fill(~page.sees_B1SS, torch.finfo(torch.float32).min)
        output = self.backbone.decoder(
            inputs_embeds=words_BSD.masked_scatter(places_BS1, tokens_BID.to(words_BSD)),
            attention_mask=mask_B1SS,
            position_ids=page.positions_BS,
            use_cache=False,
        )
        asked_BS = page.targets_BS >= 0
        logits_NV = self.model.get_output_embeddings()(output.last_hidden_state[asked_BS])
        targets_N = page.targets_BS[asked_BS]
        right = (logits_NV.argmax(dim=-1) == targets_N).float().mean()
        return functional.cross_entropy(logits_NV.float(), targets_N), right


class _Untied(nn.Module):
    """A model without its output embeddings, which are the input embeddings: each tensor is stored once."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model.model


def _optimisers(modules: dict[str, nn.Module], rate: float) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
    """Return Muon for the matrices of the blocks and AdamW for the rest; they keep their state in one place."""
    named = [item for module in modules.values() for item in module.named_parameters()]
    in_block = {name for name, weight in named if weight.ndim == 2 and (".layers." in name or "projector" in name)}
    muon = torch.optim.Muon(
        [weight for name, weight in named if name in in_block],
        lr=rate,
        weight_decay=WEIGHT_DECAY,
        adjust_lr_fn="match_rms_adamw",
    )
    adam = torch.optim.AdamW(
        [weight for name, weight in named if name not in in_block], lr=rate, betas=_BETAS, weight_decay=WEIGHT_DECAY
    )
    adam.state = muon.state
    return muon, adam
