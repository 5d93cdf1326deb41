"""Concatenation: the audio is joined to the text state and both pass a small network, whose output is added.

The fusion of the early multimodal captioners (text state and clip vector side by side into a dense layer: Mao et al., «Deep
Captioning with Multimodal Recurrent Neural Networks», ICLR 2015), at the sites and positions of the additive system, normalised,
gated and mixed in the same way (DESIGN §4):

    h[l, t] += α_l · ρ_l · √D · u_{l,t} ,   u_{l,t} = normalise(U_l·GELU(V_l[RMSNorm(h[l, t]) ; Σ_k w_{l,t,k} z_k]))

V_l: D+P -> C, U_l: C -> D. As V_l is linear and the token gates' weights add up to 1, its audio half is computed once a clip.

Shapes: B batch (times beams), K audio tokens, P projector width, S text positions, D backbone width, C width of the network.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from fusion_core.systems.base import closest_to_unit
from fusion_core.systems.gated import GatedConfig, GatedSite, SiteAdapter
from fusion_core.systems.sites import SitedSystem


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConcatConfig(GatedConfig):
    """Settings of the concatenation system.

    Attributes:
        width: C, the width of the network between the joined states and the addition.
    """

    width: int

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_positive("width")


class ConcatAdapter(SiteAdapter):
    """U_l and V_l."""

    def __init__(self, config: ConcatConfig) -> None:
        super().__init__()
        self.text_width = config.backbone_width
        self.channels = config.width
        self.inward = nn.Linear(config.backbone_width + config.projector_width, config.width, bias=False)
        self.outward = nn.Linear(config.width, config.backbone_width, bias=False)

    def values(self, z_BKP: Tensor) -> Tensor:
        """Return the audio half of V_l, v_BKC."""
        return functional.linear(z_BKP, self.inward.weight[:, self.text_width :])

    def forward(self, mixed_BSC: Tensor, h_BSD: Tensor, normalised_BSD: Tensor | None) -> Tensor:
        """Return u_BSD."""
        wide_BSD = h_BSD.to(torch.promote_types(h_BSD.dtype, torch.float32))
        text_BSD = functional.rms_norm(wide_BSD, h_BSD.shape[-1:])
        text_BSC = functional.linear(text_BSD, self.inward.weight[:, : self.text_width])
        return closest_to_unit(self.outward(functional.gelu(text_BSC + mixed_BSC)))


class Concat(SitedSystem):
    """Concatenation with a projector and one gated site a chosen block."""

    name = "concat"
    config_type = ConcatConfig
    matched_option = "width"
    shared_options = tuple(field.name for field in dataclasses.fields(GatedConfig))

    def __init__(self, config: ConcatConfig) -> None:
        super().__init__(config, dict.fromkeys(config.sites, partial(GatedSite, config, ConcatAdapter)))
