"""Partial unfreezing: the top blocks of the backbone train, together with the cross-attention.

Tuning the last blocks alone is the oldest of transfer recipes (Yosinski et al., «How transferable are features in deep neural
networks?», NeurIPS 2014); the audio comes in by the cross-attention of ``cross_attention.py`` (DESIGN §4):

    θ_l = θ_l^frozen at the start, then trained, for the top n blocks;   h[l, t] += tanh(g_l) · ρ_l · O_l·softmax(…)·V_l z

The trained blocks are fp32 copies that belong to this system; the backbone computes with them, in its own type, while the system
is attached (:mod:`fusion_core.unfreeze`). So what the model says without audio changes too: that is what retention measures.
Their number cannot be matched (four blocks of a 7B LLaMA have 809.5M parameters); the rest is.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import Tensor

from fusion_core.backbone import Backbone
from fusion_core.errors import ConfigError
from fusion_core.systems.cross_attention import CrossAttention, CrossAttentionConfig
from fusion_core.systems.sites import SiteContext
from fusion_core.unfreeze import TrainableCopies


@dataclasses.dataclass(frozen=True, kw_only=True)
class PartialUnfreezeConfig(CrossAttentionConfig):
    """Settings of the partial unfreezing.

    Attributes:
        unfrozen: n, how many blocks train, counted from the top.
        block_shapes: the shape of each parameter of such a block, by name.
    """

    unfrozen: int = 4
    block_shapes: dict[str, tuple[int, ...]]

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "block_shapes", {name: tuple(shape) for name, shape in self.block_shapes.items()})
        if not 1 <= self.unfrozen <= self.backbone_depth:
            raise ConfigError(f"unfrozen must be from 1 to {self.backbone_depth}, it is {self.unfrozen}.")


class PartialUnfreeze(CrossAttention):
    """Trainable copies of the top blocks, and cross-attention."""

    name = "partial-unfreeze"
    config_type = PartialUnfreezeConfig
    unmatched_parts = frozenset({"backbone"})
    changes_backbone = True

    def __init__(self, config: PartialUnfreezeConfig) -> None:
        super().__init__(config)
        top = range(config.backbone_depth - config.unfrozen, config.backbone_depth)
        self.blocks = TrainableCopies(top, config.block_shapes)

    @property
    def first_site(self) -> int:
        """The lowest site or trained block."""
        return min(super().first_site, int(self.config.backbone_depth - self.config.unfrozen))

    @classmethod
    def backbone_options(cls, backbone: Backbone) -> dict[str, Any]:
        """Return the options that the backbone decides, the shapes of a block among them."""
        backbone.require_untouched()
        shapes = {name: tuple(parameter.shape) for name, parameter in backbone.blocks[-1].named_parameters()}
        return {**super().backbone_options(backbone), "block_shapes": shapes}

    def calibrate(self, backbone: Backbone) -> None:
        """Measure ρ, and take over the weights of the top blocks."""
        super().calibrate(backbone)
        self.blocks.copy_from(backbone.blocks)

    def install(self, backbone: Backbone) -> None:
        """Let the backbone compute with the trained blocks."""
        self.blocks.install(backbone.blocks)

    def remove(self, backbone: Backbone) -> None:
        """Let the backbone compute with its frozen blocks again."""
        self.blocks.remove(backbone.blocks)

    def bind(self, x_BTA: Tensor, mask_BT: Tensor, slots_BS: Tensor | None = None) -> SiteContext:
        """Project the clips and compute keys and values once a clip.

        Raises:
            ConfigError: the system is not attached, so its blocks would not be used.
        """
        self.require_attached()
        return super().bind(x_BTA, mask_BT, slots_BS)

    def part_of(self, parameter: str) -> str:
        """Return the part that a parameter belongs to."""
        return "backbone" if parameter.startswith("blocks.") else super().part_of(parameter)
