"""What a fusion system costs on a backbone: trainable parameters, and FLOPs of a forward pass, a training step and a caption.

All three are for one clip whose features are there already: the encoder is left out, as its features are computed once. The
forward pass reads the prompt and a caption and computes logits where a token is predicted; the training step adds the backward
pass, which ends at the lowest site (or the lowest trained block); a caption is decoded by beams with a key-value cache. What is
read once for all clips, the head of a prompt that the system does not hear, is left out.

Shapes: B clips, S text positions, T frames, A encoder width, N predicted tokens.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch.nn import functional
from transformers import DynamicCache

from fusion_core.backbone import Backbone
from fusion_core.context import FusionContext
from fusion_core.flops import Flops, count_flops
from fusion_core.match import matched_config, parameter_ratio
from fusion_core.prompt import Prompt
from fusion_core.prompt_head import PromptHead
from fusion_core.split import SplitDecoder
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
        heard: whether the bare backbone reads the whole prompt with each clip. If not, all of the prompt but its last token is
            read once for all clips and not counted; a system's ``hears_prompt`` says it of the system.
    """

    prompt: int = 32
    caption: int = 20
    frames: int = 32
    encoder_width: int = 512
    beams: int = 5
    heard: bool = True


@dataclass(frozen=True)
class SystemCost:
    """The cost of one system on one backbone.

    Attributes:
        name: the system's name; None for the bare backbone.
        parameters: trainable parameters by part.
        ratio: their total over that of the additive system.
        forward: FLOPs of a forward pass.
        step: FLOPs of a forward and backward pass.
        cached_step: the same where what lies below the lowest site is at hand (the frozen prefix).
        generate: FLOPs of decoding a caption.
        unknown: operations that count 0, and how often they ran in the three.
    """

    name: str | None
    parameters: dict[str, int]
    ratio: float
    forward: int
    step: int
    cached_step: int
    generate: int
    unknown: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """All trainable parameters."""
        return sum(self.parameters.values())


def measure_flops(backbone: Backbone, system: FusionSystem | None, shape: CallShape) -> dict[str, Flops]:
    """Return the FLOPs of ``forward``, ``step``, ``cached_step`` and ``generate``; a system must be attached.

    Without a system a step is the forward pass of the bare backbone: nothing trains.
    """
    call = _Call(backbone, system, shape)
    forward = count_flops(lambda: call.run(training=False))
    generate = _generate(call)
    if system is None:
        return {"forward": forward, "step": forward, "cached_step": forward, "generate": generate}
    step = count_flops(lambda: call.run(training=True))
    cached = step
    if 0 < system.first_site < backbone.depth:
        split = SplitDecoder(backbone, system.first_site)
        cached = count_flops(lambda: call.run(training=True, above=split))
    return {"forward": forward, "step": step, "cached_step": cached, "generate": generate}


def training_step(backbone: Backbone, system: FusionSystem, shape: CallShape, prefixed: bool) -> Callable[[], None]:
    """Return the training step of one clip, ready to be run: forward, loss, gradients; the system must be attached.

    Args:
        backbone: the frozen model.
        system: what is trained.
        shape: what is read.
        prefixed: begin at the lowest site, as with the frozen prefix, where the system has one.
    """
    cut = prefixed and 0 < system.first_site < backbone.depth
    above = SplitDecoder(backbone, system.first_site) if cut else None
    return partial(_Call(backbone, system, shape).run, training=True, above=above)


class _Call:
    """One clip and what is read of it; the prompt's head is read beforehand where the system does not hear it."""

    def __init__(self, backbone: Backbone, system: FusionSystem | None, shape: CallShape) -> None:
        self.backbone = backbone
        self.system = system
        self.shape = shape
        length = shape.prompt + (system.slots if system is not None else 0)
        heard = shape.heard if system is None else system.hears_prompt
        self.prompt = Prompt("", (0,) * length, unheard=0 if heard else length - 1)
        # With trained blocks a step reads the head once for all its clips, which is next to nothing for each: left out too.
        self.head = PromptHead(backbone, self.prompt, frozen=True)
        self.head.past(1)

    def ids(self, tokens: int) -> torch.Tensor:
        return torch.zeros(1, tokens, dtype=torch.long, device=self.backbone.device)

    def bind(self) -> FusionContext | None:
        if self.system is None:
            return None
        device = self.backbone.device
        x_BTA = torch.zeros(1, self.shape.frames, self.shape.encoder_width, device=device)
        mask_BT = torch.ones(1, self.shape.frames, dtype=torch.bool, device=device)
        slots_BS = None
        if self.system.slots:
            slots_BS = torch.full((1, len(self.prompt.ids)), -1, device=device)
            slots_BS[:, : self.system.slots] = torch.arange(self.system.slots, device=device)
        return self.system.bind(x_BTA, mask_BT, slots_BS)

    def run(self, training: bool, above: SplitDecoder | None = None) -> None:
        """Run prompt and caption through the model; with ``training`` the loss and its gradients too.

        Args:
            training: whether gradients are computed.
            above: the upper half of the decoder, where the stream below it is at hand.
        """
        caption = self.shape.caption
        with torch.set_grad_enabled(training):
            context = self.bind()
            ids_BS = self.ids(len(self.prompt.rest) + caption)
            mask_BS = self.ids(len(self.prompt.ids) + caption) + 1
            past = self.head.past(1)
            if above is None:
                hidden_BSD = self.backbone.hidden(ids_BS, mask_BS, past, context)
            else:
                stream_BSD = torch.zeros(
                    *ids_BS.shape, self.backbone.width, dtype=self.backbone.dtype, device=ids_BS.device
                )
                hidden_BSD = above.hidden(stream_BSD, mask_BS, context, past)
            logits_NV = self.backbone.logits(hidden_BSD[0, -caption - 1 :])
            if training:
                loss = functional.cross_entropy(logits_NV.float(), self.ids(caption + 1)[0])
                torch.autograd.backward(loss)
        if training and self.system is not None:
            self.system.zero_grad(set_to_none=True)


@torch.no_grad()
def _generate(call: _Call) -> Flops:
    """Count the decoding of a caption: the prompt once, then every token of every beam, with logits at each.

    The cost of a token rises linearly with what stands before it, so the first and the last tell the sum.
    """
    context, rest_BS = call.bind(), call.ids(len(call.prompt.rest))
    past = call.head.past(1)
    cache = DynamicCache(config=call.backbone.decoder.config) if past is None else past
    prefill = count_flops(lambda: _read(call.backbone, context, rest_BS, cache))
    bind = count_flops(call.bind)
    before, caption = len(call.prompt.ids), call.shape.caption
    first = _decode(call, before)
    last = _decode(call, before + caption - 1)
    unknown = bind.unknown + prefill.unknown + Counter({name: n * caption for name, n in first.unknown.items()})
    return Flops(bind.total + prefill.total + caption * (first.total + last.total) // 2, unknown)


def _decode(call: _Call, before: int) -> Flops:
    """Count one token of all beams, given how many tokens stand before it."""
    backbone, beams, context = call.backbone, call.shape.beams, call.bind()
    cache = DynamicCache(config=backbone.decoder.config)
    _read(backbone, context, call.ids(before), cache)
    cache.batch_repeat_interleave(beams)
    token_BS = call.ids(1).expand(beams, 1)
    mask_BS = token_BS.new_ones(beams, before + 1)
    return count_flops(lambda: backbone.logits(backbone.hidden(token_BS, mask_BS, cache, context)[:, -1]))


def _read(backbone: Backbone, context: FusionContext | None, ids_BS: torch.Tensor, cache: DynamicCache) -> None:
    """Read tokens, extending a cache, and compute the logits of the next."""
    backbone.logits(backbone.hidden(ids_BS, cache=cache, fusion=context)[:, -1])


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
        flops = measure_flops(backbone, system, shape)
    finally:
        system.detach()
    return SystemCost(
        name=name,
        parameters=system.parameter_table(),
        ratio=parameter_ratio(name, config, reference),
        **{what: counted.total for what, counted in flops.items()},
        unknown=dict(flops["step"].unknown + flops["generate"].unknown),
    )


def bare_cost(backbone: Backbone, shape: CallShape) -> SystemCost:
    """Return the cost of the backbone alone; its «step» is a forward pass, as nothing trains."""
    flops = measure_flops(backbone, None, shape)
    unknown = dict(flops["step"].unknown + flops["generate"].unknown)
    return SystemCost(None, {}, 0.0, **{what: counted.total for what, counted in flops.items()}, unknown=unknown)
