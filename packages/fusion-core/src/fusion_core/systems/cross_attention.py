"""Cross-attention alone: gated attention of the text to the audio tokens at the entrance of every block.

Alayrac et al., «Flamingo: a Visual Language Model for Few-Shot Learning», NeurIPS 2022, without its feed-forward layers and
narrow, so that its size can be matched; with the calibration ρ that the additive system has (DESIGN §4):

    h[l, t] += tanh(g_l) · ρ_l · O_l·softmax((Q_l LN(h[l, t]))(K_l z)ᵀ/√r)·V_l z

with g_l = 0 at the start, hence the untouched backbone. With n heads each of them has width r/n. V_l and O_l start so that
O·softmax(…)·V z has an RMS near 1, which √D·u of the additive system has: tanh(g) and α are in the same unit. Keys and values are
computed once a clip, and all beams of a clip share them.

Shapes: B batch (times beams), C clips, N beams times positions, H heads, K audio tokens, P projector width, S text positions,
D backbone width, R width of a head.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional

from fusion_core.context import group_by_clip
from fusion_core.errors import ConfigError
from fusion_core.gates import TanhGate, normalise_state
from fusion_core.systems.base import Options
from fusion_core.systems.sites import AudioConfig, Site, SitedSystem


@dataclasses.dataclass(frozen=True, kw_only=True)
class CrossAttentionConfig(AudioConfig):
    """Settings of the cross-attention system.

    Attributes:
        sites: the blocks that attend; empty for every block.
        width: r, the width of queries, keys and values, all heads together.
        heads: n.
        gate_init: tanh(g) at the start; 0 as in the paper.
    """

    sites: tuple[int, ...] = ()
    width: int
    heads: int = 1
    gate_init: float = 0.0

    def __post_init__(self) -> None:
        if not self.sites:
            object.__setattr__(self, "sites", tuple(range(self.backbone_depth)))
        super().__post_init__()
        self.require_positive("width", "heads")
        if self.width % self.heads:
            raise ConfigError(f"width {self.width} must be a multiple of heads, {self.heads}.")
        if not -1 < self.gate_init < 1:
            raise ConfigError(f"gate_init is tanh(g), so it must lie between -1 and 1; it is {self.gate_init}.")


class AttentionSite(Site):
    """Q, K, V and O of one block, and its gate.

    Args:
        backbone_width: D.
        projector_width: P.
        width: r.
        heads: n.
        gate_init: tanh(g) at the start.
    """

    learns_from_closed = True

    def __init__(
        self, backbone_width: int, projector_width: int, width: int, heads: int = 1, gate_init: float = 0.0
    ) -> None:
        super().__init__(TanhGate(gate_init), 1.0)
        self.heads = heads
        self.query = nn.Linear(backbone_width, width, bias=False)
        self.key = nn.Linear(projector_width, width, bias=False)
        self.value = nn.Linear(projector_width, width, bias=False)
        self.outward = nn.Linear(width, backbone_width, bias=False)
        for linear in (self.value, self.outward):
            nn.init.normal_(linear.weight, std=linear.in_features**-0.5)

    def values(self, z_BKP: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values, both CHKR."""
        return self._split(self.key(z_BKP)), self._split(self.value(z_BKP))

    def addition(self, h_BSD: Tensor, values: tuple[Tensor, Tensor], slots_BS: Tensor | None) -> Tensor:
        """Return the attended audio, a_BSD."""
        key_CHKR, value_CHKR = values
        query_CHNR = self._split(group_by_clip(self.query(normalise_state(h_BSD)), key_CHKR.shape[0]))
        attended_CHNR = functional.scaled_dot_product_attention(query_CHNR, key_CHKR, value_CHKR)
        rows, positions = h_BSD.shape[:2]
        addition_BSD: Tensor = self.outward(attended_CHNR.transpose(1, 2).reshape(rows, positions, -1))
        return addition_BSD

    def neutral_direction(self, z_BKP: Tensor) -> Tensor:
        """Return d_BD: a query of zeros attends to every token alike."""
        direction_BD: Tensor = self.outward(self.value(z_BKP.mean(dim=1)))
        return direction_BD

    def _split(self, x_BSX: Tensor) -> Tensor:
        """Return x_BHSR, the heads apart."""
        rows, positions, width = x_BSX.shape
        return x_BSX.view(rows, positions, self.heads, width // self.heads).transpose(1, 2)


class CrossAttention(SitedSystem):
    """Cross-attention with a projector and one site a chosen block."""

    name = "cross-attention"
    config_type: ClassVar[type[CrossAttentionConfig]] = CrossAttentionConfig
    matched_option = "width"
    shared_options = ("tokens", "projector_width", "pooling", "hears")

    def __init__(self, config: CrossAttentionConfig) -> None:
        build = partial(
            AttentionSite, config.backbone_width, config.projector_width, config.width, config.heads, config.gate_init
        )
        super().__init__(config, dict.fromkeys(config.sites, build))

    @classmethod
    def sized_options(cls, size: int, options: Options) -> Iterator[dict[str, Any]]:
        """Yield the width of heads of ``size`` channels each."""
        yield {"width": size * int(options.get("heads", 1))}
