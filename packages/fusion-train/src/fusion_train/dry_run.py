"""What a run would need and do, found out without weights and without data: what ``--dry-run`` shows.

The model is built by its shapes alone, on the meta device. Whatever is on this machine already is looked at; what is not is
listed with the command that provides it. Settings that cannot work are refused as in a run.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fusion_core.backbone import Backbone
from fusion_core.cost import CallShape, training_step
from fusion_core.errors import ConfigError, FusionError
from fusion_core.flops import count_flops
from fusion_core.freeze import freeze
from fusion_core.outlines import outline
from fusion_core.step_memory import cache_bytes, step_memory
from fusion_core.systems import SYSTEMS
from fusion_core.systems.base import FusionSystem
from fusion_core.systems.joint import Joint
from fusion_encoders.registry import ENCODERS, load_encoder

from fusion_train.assets import Asset, encoder_names, find_assets, read_dataset
from fusion_train.config import RunSettings
from fusion_train.modal_encoders import encoder_name
from fusion_train.model import PRECISIONS, compute_dtype, system_config

_PROMPT, _CAPTION, _FRAMES = 32, 20, 32
_ADAM = 16
"""Bytes of a trainable number in fp32: itself, its gradient, AdamW's two moments."""
_STORED_FEATURE = 2


@dataclass(frozen=True)
class Schedule:
    """When what happens.

    Attributes:
        clips: training clips.
        steps: optimiser steps at most.
        effective_batch: clips of a step.
        epochs: of the steps, at most.
        warmup: steps with a rising rate.
        evaluations: how often val is captioned, at most.
        rates: peak learning rates by part.
    """

    clips: int
    steps: int
    effective_batch: int
    epochs: float
    warmup: int
    evaluations: int
    rates: dict[str, float]


@dataclass(frozen=True)
class DryRun:
    """What a run would need and do.

    Attributes:
        assets: data and weights, here or missing.
        frozen: frozen parameters of the backbone.
        parameters: trainable parameters by part.
        schedule: when what happens.
        memory: bytes on the device by what takes them; training and decoding do not take theirs at the same time.
        disk: bytes in the user's cache by what takes them.
        step_flops: floating-point operations of an optimiser step.
    """

    assets: tuple[Asset, ...]
    frozen: int
    parameters: dict[str, int]
    schedule: Schedule
    memory: dict[str, int]
    disk: dict[str, int]
    step_flops: int

    @property
    def peak(self) -> int:
        """Bytes on the device at the peak: what is always there and the larger of training and decoding."""
        moving = {"activations of a forward and backward pass", "keys and values of decoding"}
        fixed = sum(size for what, size in self.memory.items() if what not in moving)
        return fixed + max(self.memory[what] for what in moving)

    def as_dict(self) -> dict[str, Any]:
        """Return everything in JSON's types, the schedule's values beside the rest."""
        found = dataclasses.asdict(self)
        found |= found.pop("schedule")
        totals = {"peak": self.peak, "total_parameters": sum(self.parameters.values())}
        return found | totals | {"run_flops": self.step_flops * self.schedule.steps}


def dry_run(dataset: str, system: str, settings: RunSettings, root: Path | None = None) -> DryRun:
    """Check the settings and find out what a run would need and do; nothing is prepared, loaded or trained.

    Raises:
        ConfigError: a setting is wrong.
    """
    data = read_dataset(dataset, settings, root)
    first = next(iter(encoder_names(settings)), settings.encoder)
    encoder_width = _encoder_width(first)
    backbone = _outline(settings)
    model = (
        _joint(system, settings, backbone)
        if settings.modalities
        else _system(system, settings, backbone, encoder_width)
    )
    shape = CallShape(_PROMPT, _CAPTION, _FRAMES, encoder_width, settings.decoding.beams, heard=model.hears_prompt)
    model.attach(backbone)
    try:
        prefixed = settings.frozen_prefix and model.first_site > 0
        flops = count_flops(training_step(backbone, model, shape, prefixed)).total
        activations = settings.batch * step_memory(backbone, model, shape, prefixed)
    finally:
        model.detach()
    parameters = model.parameter_table()
    frozen = sum(parameter.numel() for parameter in backbone.model.parameters())
    size = settings.batch * settings.accumulate
    rows = settings.decoding.batch * settings.decoding.beams
    memory = {
        "frozen weights": frozen * torch.finfo(backbone.dtype).bits // 8,
        "trainable weights, gradients, AdamW": _ADAM * sum(parameters.values()),
        "activations of a forward and backward pass": activations,
        "keys and values of decoding": rows * cache_bytes(backbone, _PROMPT + settings.decoding.max_new_tokens),
    }
    disk = {"features": data.clips * _FRAMES * encoder_width * _STORED_FEATURE}
    if prefixed:
        stream = _CAPTION * backbone.width * torch.finfo(backbone.dtype).bits // 8
        disk["frozen prefix"] = data.captions * stream
    return DryRun(
        assets=(data.asset, *find_assets(settings)),
        frozen=frozen,
        parameters=parameters,
        schedule=_schedule(settings, data.clips, set(parameters)),
        memory=memory,
        disk=disk,
        step_flops=size * flops,
    )


def _schedule(settings: RunSettings, clips: int, parts: set[str]) -> Schedule:
    size, steps = settings.batch * settings.accumulate, settings.schedule.steps
    if size > clips:
        raise ConfigError(f"batch x accumulate is {size}, more than the {clips} training clips; lower it.")
    rates = settings.optimiser.model_dump()
    names = {
        "projector": "projector_lr",
        "adapters": "adapter_lr",
        "gates": "gate_lr",
        "lora": "lora_lr",
        "backbone": "backbone_lr",
    }
    return Schedule(
        clips=clips,
        steps=steps,
        effective_batch=size,
        epochs=steps * size / clips,
        warmup=round(settings.schedule.warmup * steps),
        evaluations=-(-steps // settings.evaluation.every),
        rates={part: rates[name] for part, name in names.items() if part in parts},
    )


def _outline(settings: RunSettings) -> Backbone:
    backbone = outline(settings.backbone)
    precision = compute_dtype(settings.precision) if settings.precision == "auto" else PRECISIONS[settings.precision]
    backbone.model.to(precision)
    return backbone


def _system(name: str, settings: RunSettings, backbone: Backbone, encoder_width: int) -> FusionSystem:
    """Build the run's system on the meta device."""
    config = system_config(name, settings, backbone, encoder_width)
    system_type: type[FusionSystem] = SYSTEMS.load(name)
    with torch.device("meta"):
        return system_type(config)


def _joint(name: str, settings: RunSettings, backbone: Backbone) -> FusionSystem:
    """Build the system of several modalities on the meta device, as if it began from nothing."""
    members = {}
    for modality in settings.modalities:
        width = _encoder_width(encoder_name(settings, modality))
        members[modality] = _system(name, settings, backbone, width)
    with torch.device("meta"):
        joint = Joint.of(members)
    for modality, own in settings.modalities.items():
        if own.frozen:
            freeze(joint.by_modality()[modality])
    return joint


def _encoder_width(name: str) -> int:
    """Return the width of an encoder, also where its weights are missing.

    Raises:
        ConfigError: there is no such encoder.
    """
    encoder_type = ENCODERS.load(name)
    try:
        return load_encoder(name).width
    except FusionError:
        return int(encoder_type.width)
