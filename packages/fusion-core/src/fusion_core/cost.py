"""What a fusion system costs on a backbone: trainable parameters, and FLOPs of a forward pass, a training step and a caption.

All three are for one clip whose features are there already: the encoder is left out, as its features are computed once. The
forward pass reads the prompt and a caption and computes logits where a token is predicted; the training step adds the backward
pass, which ends at the lowest site (or the lowest trained block); a caption is decoded by beams with a key-value cache.

Shapes: B clips, S text positions, T frames, A encoder width, N predicted tokens.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass, field

import torch
from torch.nn import functional
from transformers import DynamicCache

from fusion_core.backbone import Backbone
from fusion_core.context import FusionContext
from fusion_core.flops import Flops, count_flops
from fusion_core.match import matched_config, parameter_ratio
from fusion_core.systems import SYSTEMS
from fusion_core.systems.additive import AdditiveConfig
from fusion_core.systems.base import FusionSystem


@dataclass(frozen=True)
class CallShape:
    """What is counted.

    Attributes:
        prompt: tokens of the prompt; slots of a system come on top.
        caption: tokens of the caption, the end token left out.
        frames: encoder frames of the clip.
        encoder_width: A.
        beams: beams of the decoding.
    """

    prompt: int = 32
    caption: int = 20
    frames: int = 32
    encoder_width: int = 512
    beams: int = 5


@dataclass(frozen=True)
class SystemCost:
    """The cost of one system on one backbone.

    Attributes:
        name: the system's name; None for the bare backbone.
        parameters: trainable parameters by part.
        ratio: their total over that of the additive system.
        forward: FLOPs of a forward pass.
        step: FLOPs of a forward and backward pass.
        generate: FLOPs of decoding a caption.
        unknown: operations that count 0, and how often they ran in the three.
    """

    name: str | None
    parameters: dict[str, int]
    ratio: float
    forward: int
    step: int
    generate: int
    unknown: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """All trainable parameters."""
        return sum(self.parameters.values())


def measure_flops(backbone: Backbone, system: FusionSystem | None, shape: CallShape) -> tuple[Flops, Flops, Flops]:
    """Return the FLOPs of a forward pass, of a training step and of a caption; a system must be attached.

    Without a system the step is the forward pass of the bare backbone: nothing trains.
    """
    forward = count_flops(lambda: _forward(backbone, system, shape, training=False))
    step = count_flops(lambda: _forward(backbone, system, shape, training=True)) if system is not None else forward
    return forward, step, _generate(backbone, system, shape)


def _bind(backbone: Backbone, system: FusionSystem | None, shape: CallShape) -> FusionContext | None:
    if system is None:
        return None
    device = backbone.device
    x_BTA = torch.zeros(1, shape.frames, shape.encoder_width, device=device)
    mask_BT = torch.ones(1, shape.frames, dtype=torch.bool, device=device)
    slots_BS = None
    if system.slots:
        slots_BS = torch.full((1, shape.prompt + system.slots), -1, device=device)
        slots_BS[:, : system.slots] = torch.arange(system.slots, device=device)
    return system.bind(x_BTA, mask_BT, slots_BS)


def _prompt(backbone: Backbone, system: FusionSystem | None, shape: CallShape) -> torch.Tensor:
    slots = system.slots if system is not None else 0
    return torch.zeros(1, shape.prompt + slots, dtype=torch.long, device=backbone.device)


def _forward(backbone: Backbone, system: FusionSystem | None, shape: CallShape, training: bool) -> None:
    """Run prompt and caption through the model; with ``training`` the loss and its gradients too."""
    prompt_BS = _prompt(backbone, system, shape)
    caption_BS = prompt_BS.new_zeros(1, shape.caption + 1)
    with torch.set_grad_enabled(training):
        context = _bind(backbone, system, shape)
        ids_BS = torch.cat([prompt_BS, caption_BS], dim=1)
        hidden_BSD = backbone.hidden(ids_BS, torch.ones_like(ids_BS), fusion=context)
        first = prompt_BS.shape[1] - 1
        logits_NV = backbone.logits(hidden_BSD[0, first : first + shape.caption + 1])
        if training:
            loss = functional.cross_entropy(logits_NV.float(), caption_BS[0])
            torch.autograd.backward(loss)
    if training and system is not None:
        system.zero_grad(set_to_none=True)


@torch.no_grad()
def _generate(backbone: Backbone, system: FusionSystem | None, shape: CallShape) -> Flops:
    """Count the decoding of a caption: the prompt once, then every token of every beam, with logits at each.

    The cost of a token rises linearly with what stands before it, so the first and the last tell the sum.
    """
    prompt_BS = _prompt(backbone, system, shape)
    prefill = count_flops(lambda: _read(backbone, _bind(backbone, system, shape), prompt_BS))
    before = prompt_BS.shape[1]
    first = _decode(backbone, system, shape, before)
    last = _decode(backbone, system, shape, before + shape.caption - 1)
    unknown = prefill.unknown + Counter({name: times * shape.caption for name, times in first.unknown.items()})
    return Flops(prefill.total + shape.caption * (first.total + last.total) // 2, unknown)


def _decode(backbone: Backbone, system: FusionSystem | None, shape: CallShape, before: int) -> Flops:
    """Count one token of all beams, given how many tokens stand before it."""
    context = _bind(backbone, system, shape)
    cache = _read(backbone, context, torch.zeros(1, before, dtype=torch.long, device=backbone.device))
    cache.batch_repeat_interleave(shape.beams)
    token_BS = torch.zeros(shape.beams, 1, dtype=torch.long, device=backbone.device)
    mask_BS = token_BS.new_ones(shape.beams, before + 1)
    return count_flops(lambda: backbone.logits(backbone.hidden(token_BS, mask_BS, cache, context)[:, -1]))


def _read(backbone: Backbone, context: FusionContext | None, ids_BS: torch.Tensor) -> DynamicCache:
    """Read tokens into a new cache, and compute the logits of the next."""
    cache = DynamicCache(config=backbone.decoder.config)
    backbone.logits(backbone.hidden(ids_BS, torch.ones_like(ids_BS), cache, context)[:, -1])
    return cache


def system_cost(name: str, backbone: Backbone, reference: AdditiveConfig, shape: CallShape) -> SystemCost:
    """Return the cost of a system that is matched to an additive one, on this backbone's device (the meta device will do).

    Args:
        name: the system.
        backbone: what it is attached to; it is given back untouched.
        reference: the additive system that sizes are matched to.
        shape: what is counted.

    Raises:
        ConfigError: there is no such system.
    """
    system_type: type[FusionSystem] = SYSTEMS.load(name)
    known = {field.name for field in dataclasses.fields(system_type.config_type)}
    facts = {**system_type.backbone_options(backbone), "encoder_width": reference.encoder_width}
    config = matched_config(name, reference, {option: value for option, value in facts.items() if option in known})
    with torch.device(backbone.device):
        system = system_type(config)
    system.attach(backbone)
    try:
        forward, step, generate = measure_flops(backbone, system, shape)
    finally:
        system.detach()
    return SystemCost(
        name=name,
        parameters=system.parameter_table(),
        ratio=parameter_ratio(name, config, reference),
        forward=forward.total,
        step=step.total,
        generate=generate.total,
        unknown=dict(step.unknown + generate.unknown),
    )


def bare_cost(backbone: Backbone, shape: CallShape) -> SystemCost:
    """Return the cost of the backbone alone; its «step» is a forward pass, as nothing trains."""
    forward, step, generate = measure_flops(backbone, None, shape)
    unknown = dict(step.unknown + generate.unknown)
    return SystemCost(None, {}, 0.0, forward.total, step.total, generate.total, unknown)
