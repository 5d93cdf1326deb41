"""Hybrid: the additive system at its sites, and a narrow cross-attention at the entrance of the other blocks.

The contingency of DESIGN §4 and §6, for the case that addition alone stays behind. Both parts are those of the files
``additive.py`` and ``cross_attention.py`` and share one projector:

    h[l, t] += α_l · ρ_l · √D · u_{l,t}                                                     for l in the sites
    h[l, t] += tanh(g_l) · ρ_l · O_l·softmax((Q_l LN(h[l, t]))(K_l z)ᵀ/√r)·V_l z           for l in the attention sites

The cross-attention has a small fixed width; to match the additive system's size, the projector is made narrower.
"""

from __future__ import annotations

import dataclasses
from functools import partial

from fusion_core.errors import ConfigError
from fusion_core.systems.additive import AdditiveConfig, additive_site
from fusion_core.systems.cross_attention import AttentionSite
from fusion_core.systems.sites import SitedSystem


@dataclasses.dataclass(frozen=True, kw_only=True)
class HybridConfig(AdditiveConfig):
    """Settings of the hybrid system: those of the additive one and of its cross-attention.

    Attributes:
        attention_sites: the blocks that attend; empty for every block that is not in ``sites``.
        attention_width: r.
        attention_heads: n.
    """

    attention_sites: tuple[int, ...] = ()
    attention_width: int = 4
    attention_heads: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.attention_sites:
            rest = tuple(block for block in range(self.backbone_depth) if block not in self.sites)
            object.__setattr__(self, "attention_sites", rest)
        self.require_blocks("attention_sites")
        self.require_positive("attention_width", "attention_heads")
        if self.attention_width % self.attention_heads:
            raise ConfigError(
                f"attention_width {self.attention_width} must be a multiple of attention_heads, {self.attention_heads}."
            )
        both = set(self.sites) & set(self.attention_sites)
        if both:
            raise ConfigError(f"attention_sites and sites share {sorted(both)}; a block has one kind of site.")


class Hybrid(SitedSystem):
    """Additive sites and narrow cross-attention sites behind one projector."""

    name = "hybrid"
    config_type = HybridConfig
    matched_option = "projector_width"
    shared_options = tuple(
        field.name for field in dataclasses.fields(AdditiveConfig) if field.name != "projector_width"
    )

    def __init__(self, config: HybridConfig) -> None:
        attend = partial(
            AttentionSite,
            config.backbone_width,
            config.projector_width,
            config.attention_width,
            config.attention_heads,
        )
        add = partial(additive_site, config)
        blocks = sorted({*config.sites, *config.attention_sites})
        super().__init__(config, {block: add if block in config.sites else attend for block in blocks})
