"""How long a training step and a decoded token take with a system, beside the work that the bare backbone cannot avoid.

Unavoidable in a training step are the forward pass with the loss, and the gradients of the activations from the first site up.
The sides are measured in turn, step by step, in one process, so that a busy machine slows all alike; the median counts.

Shapes: B clips, S text positions, T frames, A encoder width, D backbone width.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from fusion_core.backbone import Backbone
from fusion_core.context import FusionContext
from fusion_core.progress import track
from fusion_core.prompt_head import PromptHead
from fusion_core.systems.base import FusionSystem
from fusion_encoders.base import FeatureSequence
from torch import Tensor
from transformers import DynamicCache

from fusion_train.config import RunSettings
from fusion_train.examples import Batch, bind_features
from fusion_train.memory import peak_memory
from fusion_train.model import build_system
from fusion_train.objectives.xe import cross_entropy_sum
from fusion_train.optim import make_optimiser
from fusion_train.prefix import FrozenPrefix
from fusion_train.reading import Reader

BARE = "backbone"
PREFIXED = ", frozen prefix"
UNKEPT = ", nothing kept"


@dataclass(frozen=True)
class StepCost:
    """Medians of one side.

    Attributes:
        step: seconds of a training step.
        token: seconds of decoding one token of every beam.
        memory: bytes that a step needs at its peak beyond what is held before it; None where the system cannot tell.
    """

    step: float
    token: float
    memory: float | None = None


@dataclass(frozen=True)
class StepShape:
    """What is timed: a batch of clips with captions of one length, features of one length, beams of one clip."""

    clips: int = 16
    caption: int = 16
    frames: int = 32
    beams: int = 5


class _FromTheFirstSiteUp:
    """A context that adds nothing but asks for the gradients that a system at that block cannot do without."""

    def __init__(self, block: int) -> None:
        self.block = block

    def enter_block(self, block: int, h_BSD: Tensor) -> Tensor:
        return h_BSD.detach().requires_grad_() if block == self.block and torch.is_grad_enabled() else h_BSD


class _Side:
    """One side: its step and its decoded token, ready to be run again and again.

    Args:
        backbone: the model.
        system: what is trained; None for the bare backbone.
        settings: of the run.
        shape: what is timed.
        prefix_root: where the frozen prefix is kept; without it all blocks are run.
        keeps_prompt: whether what is not heard of the prompt is read once a run, or with every row of every step.
    """

    def __init__(
        self,
        backbone: Backbone,
        system: FusionSystem | None,
        settings: RunSettings,
        shape: StepShape,
        prefix_root: Path | None = None,
        keeps_prompt: bool = True,
    ) -> None:
        self.backbone = backbone
        self.system = system
        self.shape = shape
        self.site = min(settings.reference.get("sites", [0]))
        self.optimiser = make_optimiser({"system": system}, settings.optimiser) if system is not None else None
        heard = settings.reference.get("hears", "all") == "all"
        self.prompt = backbone.prompt(heard=heard) if system is None else system.prompt(backbone)
        frozen = system is None or not system.changes_backbone
        prefix = None
        if system is not None and prefix_root is not None:
            prefix = FrozenPrefix(backbone, self.prompt, system.first_site, prefix_root)
        head = PromptHead(backbone, self.prompt, frozen) if keeps_prompt else None
        self.reader = Reader(backbone, self.prompt, head, prefix)

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Let the system into the backbone and out again."""
        if self.system is not None:
            self.system.attach(self.backbone)
        yield
        if self.system is not None:
            self.system.detach()

    def step(self, batch: Batch) -> None:
        """Do a training step: forward, loss, backward, optimiser."""
        if self.system is None or self.optimiser is None:
            torch.autograd.backward(cross_entropy_sum(self.reader, batch, _FromTheFirstSiteUp(self.site)))
            return
        slots_BS = self.prompt.slot_index(batch.ids_BS.shape[1])
        context = bind_features(self.system, batch.features, slots_BS)
        torch.autograd.backward(cross_entropy_sum(self.reader, batch, context))
        self.optimiser.step()
        self.optimiser.zero_grad()

    @torch.inference_mode()
    def decoder(self, batch: Batch) -> Callable[[], None]:
        """Return a function that decodes one more token of every beam, each time after the same prompt."""
        context = self._context(batch)
        cache = PromptHead(self.backbone, self.prompt, frozen=False).past(1)
        cache = cache or DynamicCache(config=self.backbone.decoder.config)
        prompt_BS = torch.tensor([self.prompt.rest], device=self.backbone.device)
        self.backbone.hidden(prompt_BS, cache=cache, fusion=context)
        cache.batch_repeat_interleave(self.shape.beams)
        token_BS = torch.full((self.shape.beams, 1), self.backbone.end_id, device=self.backbone.device)

        @torch.inference_mode()
        def decode() -> None:
            self.backbone.logits(self.backbone.hidden(token_BS, cache=cache, fusion=context)[:, -1])
            cache.crop(-1)

        return decode

    def _context(self, batch: Batch) -> FusionContext | None:
        if self.system is None:
            return None
        features = batch.features
        assert isinstance(features, FeatureSequence)  # the steps that are measured have one modality
        return self.system.bind(features.x_BTA[:1], features.mask_BT[:1], self.prompt.slot_index())


def measure_steps(
    backbone: Backbone,
    systems: Mapping[str, RunSettings],
    settings: RunSettings,
    encoder_width: int,
    shape: StepShape,
    repeats: int,
    prefix_root: Path,
) -> dict[str, StepCost]:
    """Return what a step and a token cost for the bare backbone and for each system.

    A system that leaves the lower blocks alone is timed three times: with its frozen prefix, with no more than the prompt kept,
    and with nothing kept from step to step.

    Args:
        backbone: the frozen model, on its device; it is given back untouched.
        systems: each system's settings; it is built as a run of these would build it.
        settings: those of the bare side; their reference says where the first site is, and whether the prompt is heard.
        encoder_width: A.
        shape: what is timed.
        repeats: steps of each side; twenty times as many tokens are decoded.
        prefix_root: an empty folder for the frozen prefixes.

    Raises:
        ConfigError: there is no such system.
    """
    sides = {BARE: _Side(backbone, None, settings, shape)}
    for name, own in systems.items():
        system = build_system(name, own, backbone, encoder_width)
        if system.first_site:
            sides[name + PREFIXED] = _Side(backbone, system, own, shape, prefix_root)
            sides[name + UNKEPT] = _Side(backbone, system, own, shape, keeps_prompt=False)
        system.detach()
        sides[name] = _Side(backbone, system, own, shape)
    batches = {name: _batch(side, encoder_width) for name, side in sides.items()}
    for name, side in sides.items():
        side.reader.prepare(batches[name].ids_BS[:, len(side.prompt.ids) :].tolist())
    steps: dict[str, list[float]] = {name: [] for name in sides}
    tokens: dict[str, list[float]] = {name: [] for name in sides}
    memory: dict[str, list[int | None]] = {name: [] for name in sides}
    for _ in track(range(repeats + 1), "steps"):
        for name, side in sides.items():
            with side.attached():
                step = partial(side.step, batches[name])
                steps[name].append(_time(step, backbone.device))
                memory[name].append(peak_memory(step, backbone.device))
                decode = side.decoder(batches[name])
                tokens[name] += [_time(decode, backbone.device) for _ in range(20)][1:]
    found = {}
    for name in sides:
        known = [peak for peak in memory[name][1:] if peak is not None]
        peak = statistics.median(known) if known else None
        found[name] = StepCost(statistics.median(steps[name][1:]), statistics.median(tokens[name][19:]), peak)
    return found


def _batch(side: _Side, encoder_width: int) -> Batch:
    """Return a batch of random tokens and frames; all rows are of one length, so nothing is padded."""
    generator = torch.Generator().manual_seed(0)
    device = side.backbone.device
    size = (side.shape.clips, side.shape.caption)
    caption_BS = torch.randint(3, side.backbone.decoder.config.vocab_size, size, generator=generator)
    ids_BS = torch.cat([torch.tensor([side.prompt.ids] * size[0]), caption_BS], dim=1)
    labels_BS = torch.zeros_like(ids_BS, dtype=torch.bool)
    labels_BS[:, len(side.prompt.ids) - 1 :] = True
    targets_N = torch.cat([caption_BS, caption_BS[:, :1]], dim=1).flatten()
    x_BTA = torch.randn(size[0], side.shape.frames, encoder_width, generator=generator)
    features = FeatureSequence(x_BTA, torch.ones(size[0], side.shape.frames, dtype=torch.bool))
    return Batch(ids_BS, torch.ones_like(ids_BS), labels_BS, targets_N, features).to(device)


def _time(call: Callable[[], None], device: torch.device) -> float:
    """Return the seconds of a call, what it leaves running on an accelerator included."""
    begin = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begin
