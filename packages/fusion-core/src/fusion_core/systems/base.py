"""What every fusion system is: a module with a configuration, bound to a call, counted, matched, saved and loaded.

Shapes: B batch, T frames, A encoder width, S text positions.
"""

from __future__ import annotations

import dataclasses
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from fusion_core.backbone import INSTRUCTION, Backbone
from fusion_core.context import FusionContext
from fusion_core.errors import ConfigError, DataError
from fusion_core.files import write_atomic
from fusion_core.hub import local_folder
from fusion_core.projector import Projector
from fusion_core.prompt import Prompt
from fusion_core.systems import SYSTEMS

WEIGHTS_FILE = "adapter.safetensors"
CONFIG_FILE = "config.json"
FORMAT = "fusion.adapter/1"
Options = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SystemConfig:
    """Settings that every system has.

    Attributes:
        backbone_width: D.
        backbone_depth: the number of decoder blocks.
    """

    backbone_width: int
    backbone_depth: int

    def __post_init__(self) -> None:
        self.require_positive("backbone_width", "backbone_depth")

    def require_positive(self, *fields: str) -> None:
        """Raise ConfigError where a field is below 1."""
        for field in fields:
            if getattr(self, field) < 1:
                raise ConfigError(f"{field} must be at least 1, it is {getattr(self, field)}.")

    def require_choice(self, **choices: tuple[str, ...]) -> None:
        """Raise ConfigError where a field is none of its choices."""
        for field, known in choices.items():
            if getattr(self, field) not in known:
                raise ConfigError(f"{field} is {getattr(self, field)!r}; choose one of {', '.join(known)}.")

    def require_blocks(self, field: str) -> None:
        """Make a field a tuple of blocks; raise ConfigError where it is none.

        Raises:
            ConfigError: it is empty, not in rising order, or names blocks that do not exist.
        """
        blocks = tuple(getattr(self, field))
        object.__setattr__(self, field, blocks)
        outside = [block for block in blocks if not 0 <= block < self.backbone_depth]
        if not blocks or outside or list(blocks) != sorted(set(blocks)):
            raise ConfigError(
                f"{field} {list(blocks)} must be different blocks in rising order, from 0 to {self.backbone_depth - 1}."
            )


class FusionSystem(nn.Module, ABC):
    """The trainable part of a fused model; the backbone is not inside it.

    A system is made from its configuration alone. On a new one, call :meth:`calibrate` once; before use, call :meth:`attach`.

    Attributes:
        projector: what turns frames into audio tokens; None in a system without an audio path.
        matched_option: the option that sets the system's size (see ``fusion_core.match``); None where nothing does.
        shared_options: options that are taken over from the additive system it is compared with.
        unmatched_parts: parts that are left out when the size is matched, because no option could make up for them.
        changes_backbone: whether it trains weights of the backbone, so that without audio the answers change too.
    """

    name: ClassVar[str]
    config_type: ClassVar[type[SystemConfig]]
    matched_option: ClassVar[str | None] = None
    shared_options: ClassVar[tuple[str, ...]] = ()
    unmatched_parts: ClassVar[frozenset[str]] = frozenset()
    changes_backbone: ClassVar[bool] = False
    projector: Projector | None

    def __init__(self, config: SystemConfig) -> None:
        super().__init__()
        self.config: Any = config
        self.projector = None
        self._attached_to: Backbone | None = None

    @classmethod
    def backbone_options(cls, backbone: Backbone) -> dict[str, Any]:
        """Return the options that the backbone decides."""
        return {"backbone_width": backbone.width, "backbone_depth": backbone.depth}

    @classmethod
    def sized_options(cls, size: int, options: Options) -> Iterator[dict[str, Any]]:
        """Yield the ways to set the system's size, preferred first; ``size`` counts from 1.

        Every way must have more parameters with a larger size, and all sizes the same number of ways.
        """
        if cls.matched_option is not None:
            yield {cls.matched_option: size}

    @property
    def slots(self) -> int:
        """How many placeholder tokens the prompt needs; 0 where the system adds everywhere."""
        return 0

    @property
    def hears_prompt(self) -> bool:
        """Whether the audio acts on the whole prompt; if not, it does from the prompt's last token on."""
        return True

    def prompt(self, backbone: Backbone, instruction: str = INSTRUCTION) -> Prompt:
        """Return the backbone's prompt for an instruction, as this system needs it."""
        return backbone.prompt(instruction, slots=self.slots, heard=self.hears_prompt)

    @property
    def first_site(self) -> int:
        """The lowest block that the system acts in: what lies below depends on the text alone. 0 where nothing does."""
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

    def calibrate(self, backbone: Backbone) -> None:
        """Measure what the system needs of the frozen backbone, once, before training."""

    def attach(self, backbone: Backbone) -> None:
        """Make ready for use with a backbone. One that trains weights of the backbone installs its own in it.

        Then the backbone computes with them, with and without audio, until :meth:`detach`. Move the system to its device first.

        Raises:
            ConfigError: another system is attached to this backbone, or this one to another backbone.
        """
        if not self.changes_backbone:
            backbone.require_untouched()
        elif self._attached_to is not backbone:
            if self._attached_to is not None:
                raise ConfigError(f"{self.name!r} is attached to another backbone; detach it there first.")
            backbone.hold(self)
            try:
                self.install(backbone)
            except BaseException:
                backbone.release(self)
                raise
            self._attached_to = backbone

    def detach(self) -> None:
        """Give the backbone back as it was before :meth:`attach`."""
        if self._attached_to is not None:
            self.remove(self._attached_to)
            self._attached_to.release(self)
            self._attached_to = None

    def install(self, backbone: Backbone) -> None:
        """Let the backbone compute with this system's own weights; called by :meth:`attach`."""

    def remove(self, backbone: Backbone) -> None:
        """Undo :meth:`install`; called by :meth:`detach`."""

    def require_attached(self) -> None:
        """Raise ConfigError where the system's weights are not in use."""
        if self._attached_to is None:
            raise ConfigError(f"{self.name!r} is not attached to its backbone; call attach(backbone) first.")

    def gate_values(self) -> dict[int | str, float]:
        """Return the strength of the gate at each site as it is now, by block or a name of its own; empty without gates."""
        return {}

    def residual_rms(self) -> dict[int, float]:
        """Return the calibration ρ of each site; empty without sites."""
        return {}

    def penalty(self) -> Tensor:
        """Return the sum of squared gates, unweighted."""
        return torch.zeros(())

    def part_of(self, parameter: str) -> str:
        """Return the part that a parameter belongs to.

        Parts are ``projector``, ``adapters``, ``gates``, ``backbone`` (copies of the backbone's own weights) and ``lora``.
        """
        if parameter.startswith("projector."):
            return "projector"
        return "gates" if ".gate." in parameter else "adapters"

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
    def from_pretrained(cls, source: Path | str) -> Self:
        """Load what :meth:`save_pretrained` wrote.

        Args:
            source: a folder, or the ``owner/name`` of a repository that is in the hub's cache already. Nothing is downloaded.

        Raises:
            DataError: a file is missing, malformed or of another system.
            MissingAssetError: the repository is not in the hub's cache.
        """
        system = load_system(source)
        if not isinstance(system, cls):
            raise DataError(f"{source}: {CONFIG_FILE} is of system {system.name!r}; use {type(system).__name__}.")
        return system


def load_system(source: Path | str) -> FusionSystem:
    """Load an adapter of whichever system its configuration names; attach it to its backbone before use.

    Args:
        source: a folder, or the ``owner/name`` of a repository in the hub's cache.

    Raises:
        DataError: a file is missing or malformed, or weights and configuration do not fit each other.
        MissingAssetError: the repository is not in the hub's cache.
    """
    folder = local_folder(source, (CONFIG_FILE, WEIGHTS_FILE))
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
