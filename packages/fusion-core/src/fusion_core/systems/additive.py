"""Additive, layer-selective fusion: the system this project is about.

At the entrance of block l, for l in the sites, at every position t of prompt and caption (DESIGN §4):

    h[l, t] += α_l · ρ_l · √D · u_{l,t}

    u_{l,t} = Σ_k w_{l,t,k} · (W_l z_k)/‖W_l z_k‖                                   (adapter "linear")

    u_{l,t} = normalise(U_l[(1 + V_l LN(h[l, t])) ⊙ Σ_k w_{l,t,k} A_l z_k])        (adapter "modulated")

with z the audio tokens of the projector, w the token gates (:class:`fusion_core.gates.TokenGate`), α_l a learned scalar and ρ_l
the median RMS of the frozen stream there, so that α_l is the size of the addition relative to the stream.

Shapes: B batch (times beams), K audio tokens, P projector width, S text positions, D backbone width,
R width of the modulated adapter.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Literal

from torch import Tensor, nn

from fusion_core.errors import ConfigError
from fusion_core.systems.base import closest_to_unit
from fusion_core.systems.gated import GatedConfig, GatedSite, SiteAdapter
from fusion_core.systems.sites import SitedSystem

Adapter = Literal["linear", "modulated"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdditiveConfig(GatedConfig):
    """Settings of the additive system.

    Attributes:
        adapter: ``linear``, or ``modulated``: the text state chooses what it takes from the audio.
        modulated_width: R of the modulated adapter; None matches the parameters of the linear one.
    """

    adapter: Adapter = "linear"
    modulated_width: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_choice(adapter=("linear", "modulated"))
        if self.adapter == "modulated" and self.placement != "broadcast":
            raise ConfigError(
                "adapter 'modulated' reads the text state at each position; use placement 'broadcast' with it."
            )


class LinearAdapter(SiteAdapter):
    """W_l: audio tokens to unit vectors of the backbone's width, once a clip."""

    def __init__(self, config: AdditiveConfig) -> None:
        super().__init__()
        self.channels = config.backbone_width
        self.outward = nn.Linear(config.projector_width, config.backbone_width, bias=False)

    def values(self, z_BKP: Tensor) -> Tensor:
        """Return what each token adds, v_BKD, of length 1."""
        return closest_to_unit(self.outward(z_BKP))

    def forward(self, mixed_BSD: Tensor, h_BSD: Tensor, normalised_BSD: Tensor | None) -> Tensor:
        """Return u_BSD; the text state plays no further part."""
        return mixed_BSD


class ModulatedAdapter(SiteAdapter):
    """U_l, V_l and A_l: the text state scales each of R channels of the mixed audio token before it is added."""

    reads_normalised = True

    def __init__(self, config: AdditiveConfig) -> None:
        super().__init__()
        linear = config.projector_width * config.backbone_width
        matched = linear // (config.projector_width + 2 * config.backbone_width)
        rank = config.modulated_width or max(1, matched)
        self.channels = rank
        self.audio = nn.Linear(config.projector_width, rank, bias=False)
        self.text = nn.Linear(config.backbone_width, rank, bias=False)
        self.outward = nn.Linear(rank, config.backbone_width, bias=False)
        nn.init.zeros_(self.text.weight)

    def values(self, z_BKP: Tensor) -> Tensor:
        """Return A_l z, v_BKR."""
        values_BKR: Tensor = self.audio(z_BKP)
        return values_BKR

    def forward(self, mixed_BSR: Tensor, h_BSD: Tensor, normalised_BSD: Tensor | None) -> Tensor:
        """Return u_BSD."""
        if normalised_BSD is None:
            raise ValueError("the modulated adapter needs the normalised text state")
        return closest_to_unit(self.outward((1 + self.text(normalised_BSD)) * mixed_BSR))


def additive_site(config: AdditiveConfig) -> GatedSite:
    """Make one site of the additive system."""
    return GatedSite(config, LinearAdapter if config.adapter == "linear" else ModulatedAdapter)


class Additive(SitedSystem):
    """Additive, layer-selective fusion with a projector and one gated site a chosen block."""

    name = "additive"
    config_type = AdditiveConfig
    shared_options = tuple(field.name for field in dataclasses.fields(AdditiveConfig))

    def __init__(self, config: AdditiveConfig) -> None:
        super().__init__(config, dict.fromkeys(config.sites, partial(additive_site, config)))
