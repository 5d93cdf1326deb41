"""Several modalities at once: each with a system of its own (projector, adapters, gates), any of them bound to a call.

Nothing here knows which modalities there are. A member is any system that adds at sites; members act one after another at the
entrance of a block, in the order of their names, so a call that binds one alone computes what that member computes without the
others, bit for bit. A call that binds none is the backbone's own.

Shapes: B batch, T frames, A encoder width, S text positions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

from torch import Tensor, nn

from fusion_core.backbone import Backbone
from fusion_core.context import FusionContext, SomeClips, Together, Unheard
from fusion_core.errors import ConfigError
from fusion_core.systems import SYSTEMS
from fusion_core.systems.base import FusionSystem, SystemConfig

PRIMARY = "audio"
"""The modality that :meth:`Joint.bind` binds, where there is one of that name."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class JointConfig(SystemConfig):
    """Settings of several modalities.

    Attributes:
        members: by modality the name of its system (``system``) and that system's whole configuration.
    """

    members: Mapping[str, Mapping[str, Any]]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.members:
            raise ConfigError("members is empty; name at least one modality.")
        object.__setattr__(self, "members", {name: dict(self.members[name]) for name in sorted(self.members)})


@dataclasses.dataclass(frozen=True)
class Bound:
    """The frames of one modality in a call.

    Attributes:
        x_BTA: encoder frames of the clips that have this modality.
        mask_BT: True where a frame is real.
        present_B: True for each clip of the call that has it; None where all have.
    """

    x_BTA: Tensor
    mask_BT: Tensor
    present_B: Tensor | None = None


class Joint(FusionSystem):
    """Systems of several modalities on one backbone.

    Raises:
        ConfigError: a member adds at no site, trains weights of the backbone or needs slots, or members differ in what they hear.
    """

    name = "joint"
    config_type = JointConfig

    def __init__(self, config: JointConfig) -> None:
        super().__init__(config)
        self.members = nn.ModuleDict({name: _build(options) for name, options in config.members.items()})
        for name, member in self.by_modality().items():
            if member.projector is None or member.changes_backbone or member.slots:
                raise ConfigError(
                    f"Modality {name!r}: {member.name!r} cannot stand beside others; use a system that adds at sites and "
                    "placement 'broadcast', such as additive."
                )
        if len({member.hears_prompt for member in self.by_modality().values()}) > 1:
            raise ConfigError("The modalities differ in hears; give all of them 'all' or 'answer'.")
        # Not registered as a module of its own: its weights are those of the member.
        self.__dict__["projector"] = self.primary.projector

    @classmethod
    def of(cls, members: Mapping[str, FusionSystem]) -> Self:
        """Make a joint system of systems that are there, weights and all; each may come from another checkpoint.

        Raises:
            ConfigError: they do not fit together, or to one backbone.
        """
        described = {name: {"system": member.name, **member.settings()} for name, member in members.items()}
        shapes = {(member.config.backbone_width, member.config.backbone_depth) for member in members.values()}
        if len(shapes) != 1:
            raise ConfigError("The members were made for different backbones; train them on the same one.")
        ((width, depth),) = shapes
        joint = cls(JointConfig(backbone_width=width, backbone_depth=depth, members=described))
        for name, member in joint.by_modality().items():
            member.load_state_dict(members[name].state_dict())
        return joint

    def by_modality(self) -> dict[str, FusionSystem]:
        """Return the members."""
        return {name: member for name, member in self.members.items() if isinstance(member, FusionSystem)}

    @property
    def primary(self) -> FusionSystem:
        """The member that :meth:`bind` binds."""
        members = self.by_modality()
        return members.get(PRIMARY) or next(iter(members.values()))

    @property
    def hears_prompt(self) -> bool:
        """Whether the members act on the whole prompt."""
        return self.primary.hears_prompt

    @property
    def first_site(self) -> int:
        """The lowest site of any member."""
        return min(member.first_site for member in self.by_modality().values())

    def bind(self, x_BTA: Tensor, mask_BT: Tensor, slots_BS: Tensor | None = None) -> FusionContext:
        """Bind the primary modality alone, so that whatever binds audio can bind it here."""
        return self.primary.bind(x_BTA, mask_BT, slots_BS)

    def bind_modalities(self, bound: Mapping[str, Bound]) -> FusionContext:
        """Bind any of the modalities, also none.

        Raises:
            ConfigError: there is no such modality.
        """
        members = self.by_modality()
        if unknown := sorted(set(bound) - set(members)):
            raise ConfigError(f"There is no modality {unknown[0]!r} in this system; it has {', '.join(members)}.")
        contexts = [_bind(member, bound[name]) for name, member in members.items() if name in bound]
        heard = [context for context in contexts if context is not None]
        return heard[0] if len(heard) == 1 else Together(heard) if heard else Unheard()

    def calibrate(self, backbone: Backbone) -> None:
        """Calibrate every member."""
        for member in self.by_modality().values():
            member.calibrate(backbone)

    def gate_values(self) -> dict[int | str, float]:
        """Return the strength of the gate at each site, by names such as ``video.12``."""
        members = self.by_modality().items()
        return {f"{name}.{site}": value for name, member in members for site, value in member.gate_values().items()}

    def penalty(self) -> Tensor:
        """Return the sum of squared gates of all members."""
        first, *others = [member.penalty() for member in self.by_modality().values()]
        return sum(others, start=first)

    def part_of(self, parameter: str) -> str:
        """Return the part that a parameter is in its member."""
        _, name, rest = parameter.split(".", maxsplit=2)
        return self.by_modality()[name].part_of(rest)


def _build(options: Mapping[str, Any]) -> FusionSystem:
    values = dict(options)
    system_type: type[FusionSystem] = SYSTEMS.load(values.pop("system", ""))
    return system_type(system_type.config_type(**values))


def _bind(member: FusionSystem, bound: Bound) -> FusionContext | None:
    """Bind one member; None where no clip of the call has its modality."""
    if bound.present_B is None or bool(bound.present_B.all()):
        return member.bind(bound.x_BTA, bound.mask_BT)
    if not bound.present_B.any():
        return None
    return SomeClips(member.bind(bound.x_BTA, bound.mask_BT), bound.present_B)
