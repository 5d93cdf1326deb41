"""AdamW over what trains, by part, and its schedule."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from fusion_core.errors import ConfigError
from fusion_core.systems.base import FusionSystem
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from transformers import get_cosine_schedule_with_warmup

from fusion_train.config import OptimiserSettings, ScheduleSettings


def make_optimiser(modules: Mapping[str, nn.Module], settings: OptimiserSettings, factor: float = 1.0) -> AdamW:
    """Return AdamW with a group a part; weight decay on matrices alone, never on gates, biases or norms.

    Args:
        modules: the system, and heads of objectives by name, which learn at the projector's rate.
        settings: learning rates by part.
        factor: of all learning rates.

    Raises:
        ConfigError: the system names a part that has no learning rate.
    """
    rates = {
        "projector": settings.projector_lr,
        "adapters": settings.adapter_lr,
        "gates": settings.gate_lr,
        "lora": settings.lora_lr,
        "backbone": settings.backbone_lr,
    }
    groups = []
    for part, parameters in trained_parts(modules).items():
        rate = rates.get("projector" if part in modules else part)
        if rate is None:
            raise ConfigError(f"The system's part {part!r} has no learning rate; parts are {', '.join(rates)}.")
        matrices = [parameter for parameter in parameters if parameter.ndim > 1 and part != "gates"]
        others = [parameter for parameter in parameters if parameter.ndim <= 1 or part == "gates"]
        for members, decay in ((matrices, settings.weight_decay), (others, 0.0)):
            if members:
                groups.append({"params": members, "lr": factor * rate, "weight_decay": decay, "part": part})
    return AdamW(groups, eps=settings.epsilon, fused=torch.cuda.is_available())


def trained_parts(modules: Mapping[str, nn.Module]) -> dict[str, list[nn.Parameter]]:
    """Return what trains by part: the parts of the system, and each further module as one."""
    parts: dict[str, list[nn.Parameter]] = {}
    for name, module in modules.items():
        parts |= module.parts() if isinstance(module, FusionSystem) else {name: list(module.parameters())}
    return parts


def make_schedule(optimiser: AdamW, settings: ScheduleSettings) -> LambdaLR:
    """Return linear warm-up followed by a cosine to 0."""
    warmup = round(settings.warmup * settings.steps)
    schedule: LambdaLR = get_cosine_schedule_with_warmup(optimiser, warmup, settings.steps)
    return schedule
