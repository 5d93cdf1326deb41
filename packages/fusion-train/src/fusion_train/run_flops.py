"""FLOPs of one clip in a run, counted on the meta device from its settings: nothing is loaded or computed."""

from __future__ import annotations

import json
from functools import lru_cache

import torch
from fusion_core.cost import CallShape, measure_flops
from fusion_core.outlines import outline
from fusion_core.systems import SYSTEMS
from fusion_core.systems.base import FusionSystem

from fusion_train.config import RunSettings
from fusion_train.model import system_config


def run_flops(system: str, settings: RunSettings, encoder_width: int) -> dict[str, int]:
    """Return the FLOPs of ``forward``, ``step``, ``cached_step`` (with the frozen prefix at hand) and ``generate`` (by beams).

    Args:
        system: the system's name.
        settings: the run's settings.
        encoder_width: A.

    Raises:
        FusionError: the backbone has no outline here, or a setting is wrong.
    """
    counted = settings.model_dump_json(include={"backbone", "reference", "system", "encoder"})
    return dict(_count(system, counted, encoder_width, settings.decoding.beams))


@lru_cache(maxsize=64)
def _count(system: str, settings: str, encoder_width: int, beams: int) -> tuple[tuple[str, int], ...]:
    """Count once for all runs that are alike, such as those of other seeds."""
    content = json.loads(settings)
    asked = RunSettings.model_validate(content | {"schedule": {"steps": 1}, "evaluation": {"every": 1}})
    backbone = outline(asked.backbone)
    config = system_config(system, asked, backbone, encoder_width)
    system_type: type[FusionSystem] = SYSTEMS.load(system)
    with torch.device("meta"):
        model = system_type(config)
    shape = CallShape(encoder_width=encoder_width, beams=beams, heard=model.hears_prompt)
    model.attach(backbone)
    try:
        flops = measure_flops(backbone, model, shape)
    finally:
        model.detach()
    return tuple((stage, count.total) for stage, count in flops.items())
