"""What every fusion system is: a module with a configuration, bound to a call, counted, saved and loaded.

Shapes: B batch, T frames, A encoder width, S text positions.
"""

from __future__ import annotations

import dataclasses
import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from fusion_core.backbone import Backbone
from fusion_core.context import FusionContext
from fusion_core.errors import ConfigError, DataError
from fusion_core.files import write_atomic
from fusion_core.systems import SYSTEMS

WEIGHTS_FILE = "adapter.safetensors"
CONFIG_FILE = "config.json"
FORMAT = "fusion.adapter/1"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SystemConfig:
    """Settings that every system has.

    Attributes:
        backbone_width: D.
        backbone_depth: the number of decoder blocks.
        encoder_width: A.
        sites: the blocks at whose entrance the system acts, counted from 0.
        tokens: K, audio tokens a clip.
        projector_width: P.
    """

    backbone_width: int
    backbone_depth: int
    encoder_width: int
    sites: tuple[int, ...]
    tokens: int = 16
    projector_width: int = 768

    def __post_init__(self) -> None:
        object.__setattr__(self, "sites", tuple(self.sites))
        outside = [site for site in self.sites if not 0 <= site < self.backbone_depth]
        if not self.sites or outside or list(self.sites) != sorted(set(self.sites)):
            raise ConfigError(
                f"sites {list(self.sites)} must be different blocks in rising order, from 0 to {self.backbone_depth - 1}."
            )
        for field in ("tokens", "projector_width", "encoder_width"):
            if getattr(self, field) < 1:
                raise ConfigError(f"{field} must be at least 1, it is {getattr(self, field)}.")


class FusionSystem(nn.Module, ABC):
    """The trainable part of a fused model; the backbone is not inside it."""

    name: ClassVar[str]
    config_type: ClassVar[type[SystemConfig]]

    def __init__(self, config: SystemConfig) -> None:
        super().__init__()
        self.config: Any = config

    @property
    def slots(self) -> int:
        """How many placeholder tokens the prompt needs; 0 where the system adds everywhere."""
        return 0

    @abstractmethod
    def bind(self, x_BTA: Tensor, mask_BT: Tensor, slots_BS: Tensor | None = None) -> FusionContext:
        """Encode the clips of a batch and return what one or more calls of the backbone are given.

        Args:
            x_BTA: encoder frames.
            mask_BT: True where a frame is real.
            slots_BS: which slot each position of the prompt is (-1 for none), one row for all clips or one each.
        """

    def directions(self, x_BTA: Tensor, mask_BT: Tensor) -> list[Tensor]:
        """Return what the audio adds at each site before the text has a say, d_BD; none where that does not exist."""
        return []

    @abstractmethod
    def calibrate(self, backbone: Backbone) -> None:
        """Measure what the system needs of the frozen backbone, once, before training."""

    @abstractmethod
    def set_statistics(self, mean_A: Tensor, deviation_A: Tensor) -> None:
        """Keep mean and deviation of the resampled training frames."""

    @abstractmethod
    def resample(self, x_BTA: Tensor, mask_BT: Tensor) -> Tensor:
        """Return the resampled frames x_BKA over which the statistics are taken."""

    @abstractmethod
    def gate_values(self) -> dict[int, float]:
        """Return each site's gate as it is now."""

    @abstractmethod
    def residual_rms(self) -> dict[int, float]:
        """Return the calibration ρ of each site."""

    @abstractmethod
    def penalty(self) -> Tensor:
        """Return the sum of squared gates, unweighted."""

    @abstractmethod
    def part_of(self, parameter: str) -> str:
        """Return the part that a parameter belongs to: ``projector``, ``adapters`` or ``gates``."""

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Return the trainable parameters by part."""
        parts: dict[str, list[nn.Parameter]] = {}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                parts.setdefault(self.part_of(name), []).append(parameter)
        return parts

    def parameter_table(self) -> dict[str, int]:
        """Return the number of trainable parameters by part, everything counted."""
        return {part: sum(p.numel() for p in parameters) for part, parameters in self.parts().items()}

    def adapter_bytes(self) -> bytes:
        """Return the weights as safetensors; equal weights give equal bytes."""
        return save({name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()})

    def settings(self) -> dict[str, Any]:
        """Return the whole configuration, in JSON's types."""
        settings: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self.config)))
        return settings

    def save_pretrained(self, folder: Path) -> None:
        """Write the adapter's weights and configuration into a folder, each file atomically."""
        content = {"schema": FORMAT, "system": self.name, **self.settings()}
        write_atomic(folder / WEIGHTS_FILE, self.adapter_bytes())
        write_atomic(folder / CONFIG_FILE, json.dumps(content, indent=2).encode())

    @classmethod
    def from_pretrained(cls, folder: Path) -> Self:
        """Load what :meth:`save_pretrained` wrote.

        Raises:
            DataError: a file is missing, malformed or of another system.
        """
        system = load_system(folder)
        if not isinstance(system, cls):
            raise DataError(f"{folder / CONFIG_FILE}: system is {system.name!r}; load it with {type(system).__name__}.")
        return system


def load_system(folder: Path) -> FusionSystem:
    """Load an adapter of whichever system its configuration names.

    Raises:
        DataError: a file is missing or malformed, or weights and configuration do not fit each other.
    """
    try:
        settings = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        if settings.pop("schema", None) != FORMAT:
            raise DataError(
                f"{folder / CONFIG_FILE}: schema must be {FORMAT!r}; this file is not one of fusion's adapters."
            )
        system_type: type[FusionSystem] = SYSTEMS.load(settings.pop("system", ""))
        system = system_type(system_type.config_type(**settings))
        system.load_state_dict(load_file(folder / WEIGHTS_FILE))
    except FileNotFoundError as error:
        raise DataError(
            f"{error.filename or folder}: no adapter here; give a folder that holds {CONFIG_FILE}."
        ) from None
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(f"{folder}: {CONFIG_FILE} and {WEIGHTS_FILE} do not make an adapter ({error}).") from None
    return system


def closest_to_unit(vectors: Tensor) -> Tensor:
    """Scale the last dimension to length 1; a zero vector stays zero."""
    length: Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / length.clamp_min(1e-12)
