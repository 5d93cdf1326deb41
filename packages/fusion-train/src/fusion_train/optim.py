"""AdamW over the parts of a system, and its schedule."""

from __future__ import annotations

import torch
from fusion_core.errors import ConfigError
from fusion_core.systems.base import FusionSystem
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from transformers import get_cosine_schedule_with_warmup

from fusion_train.config import OptimiserSettings, ScheduleSettings


def make_optimiser(system: FusionSystem, settings: OptimiserSettings) -> AdamW:
    """Return AdamW with a group a part; weight decay on matrices alone, never on gates, biases or norms.

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
    for part, parameters in system.parts().items():
        if part not in rates:
            raise ConfigError(f"{system.name!r}: part {part!r} has no learning rate; parts are {', '.join(rates)}.")
        matrices = [parameter for parameter in parameters if parameter.ndim > 1 and part != "gates"]
        others = [parameter for parameter in parameters if parameter.ndim <= 1 or part == "gates"]
        for members, decay in ((matrices, settings.weight_decay), (others, 0.0)):
            if members:
                groups.append({"params": members, "lr": rates[part], "weight_decay": decay, "part": part})
    return AdamW(groups, fused=torch.cuda.is_available())


def make_schedule(optimiser: AdamW, settings: ScheduleSettings) -> LambdaLR:
    """Return linear warm-up followed by a cosine to 0."""
    warmup = round(settings.warmup * settings.steps)
    schedule: LambdaLR = get_cosine_schedule_with_warmup(optimiser, warmup, settings.steps)
    return schedule
