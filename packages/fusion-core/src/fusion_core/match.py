"""Systems of equal size: how many parameters a configuration trains, and the configuration that matches the additive system's.

Everything counts: projector, positions, gates, adapters. A system that can be sized names the option that does it
(``matched_option``: a width or a rank); it is found by bisection, as more of it is always more parameters. What cannot be matched
(the unfrozen blocks) is reported as a ratio.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import torch

from fusion_core.errors import ConfigError
from fusion_core.systems import SYSTEMS
from fusion_core.systems.additive import AdditiveConfig
from fusion_core.systems.base import FusionSystem, SystemConfig

TOLERANCE = 0.1
FROM_THE_MODELS = ("backbone_width", "backbone_depth", "encoder_width")


def trainable_parameters(name: str, config: SystemConfig) -> dict[str, int]:
    """Return the trainable parameters of a system by part, counted on the meta device: nothing is allocated."""
    system_type: type[FusionSystem] = SYSTEMS.load(name)
    with torch.device("meta"):
        return system_type(config).parameter_table()


def parameter_ratio(name: str, config: SystemConfig, reference: AdditiveConfig) -> float:
    """Return the trainable parameters of a system over those of an additive one."""
    total = sum(trainable_parameters(name, config).values())
    return total / sum(trainable_parameters("additive", reference).values())


def matched_config(name: str, reference: AdditiveConfig, options: Mapping[str, Any] | None = None) -> SystemConfig:
    """Return the configuration of a system whose size comes as near as it can to an additive system's.

    Args:
        name: the system.
        reference: the additive system. What the two have in common (tokens, projector width, …) is taken from it.
        options: the options that are given, those that the backbone decides (``backbone_options``) among them. If they hold
            the system's ``matched_option``, and not as None, it stays what it is.

    Raises:
        ConfigError: there is no such system, or the options are not valid.
    """
    system_type: type[FusionSystem] = SYSTEMS.load(name)
    given = dict(options or {})
    known = {field.name for field in dataclasses.fields(system_type.config_type)}
    common = known.intersection({*system_type.shared_options, *FROM_THE_MODELS})
    merged = {option: getattr(reference, option) for option in common if hasattr(reference, option)} | given
    sized = system_type.matched_option
    if sized is None or merged.get(sized) is not None:
        return system_type.config_type(**merged)
    merged.pop(sized, None)
    target = sum(trainable_parameters("additive", reference).values())
    best: tuple[float, SystemConfig] | None = None
    for way, _ in enumerate(system_type.sized_options(1, merged)):
        distance, config = _nearest(system_type, merged, way, target)
        if best is None or distance < best[0]:
            best = distance, config
        if best[0] <= TOLERANCE:
            break
    if best is None:
        raise ConfigError(f"system.{sized}: {name!r} names no way to set it; give it by --set system.{sized}=….")
    return best[1]


def _nearest(
    system_type: type[FusionSystem], options: dict[str, Any], way: int, target: int
) -> tuple[float, SystemConfig]:
    """Return the size nearest to the target in one way of sizing: its distance |total/target − 1| and its configuration."""

    def configure(size: int) -> SystemConfig:
        sizing = next(itertools.islice(system_type.sized_options(size, options), way, None))
        return system_type.config_type(**{**options, **sizing})

    @functools.cache
    def count(size: int) -> int:
        table = trainable_parameters(system_type.name, configure(size))
        return sum(parameters for part, parameters in table.items() if part not in system_type.unmatched_parts)

    above = smallest_reaching(count, target)
    sizes = [size for size in (above - 1, above) if size >= 1]
    distance, size = min((abs(count(size) / target - 1), size) for size in sizes)
    return distance, configure(size)


def smallest_reaching(count: Callable[[int], int], target: int) -> int:
    """Return the smallest size from 1 whose count is at least the target, by doubling and bisection.

    Args:
        count: rises strictly with the size.
        target: what is to be reached.
    """
    high = 1
    while count(high) < target:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        if count(middle) < target:
            low = middle
        else:
            high = middle
    return high
