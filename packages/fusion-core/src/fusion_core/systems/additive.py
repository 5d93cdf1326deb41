"""Additive, layer-selective fusion: the system this project is about.

At the entrance of block l, for l in the sites, at every position t of prompt and caption (DESIGN §4):

    h[l, t] += α_l · ρ_l · √D · u_{l,t}

    u_{l,t} = Σ_k w_{l,t,k} · (W_l z_k)/‖W_l z_k‖                                   (adapter "linear")

    u_{l,t} = normalise(U_l[(1 + V_l LN(h[l, t])) ⊙ Σ_k w_{l,t,k} A_l z_k])        (adapter "modulated")

with z the audio tokens of the projector, w the token gates (:class:`fusion_core.gates.TokenGate`), α_l a learned scalar and ρ_l
the median RMS of the frozen stream there, so that α_l is the size of the addition relative to the stream.

Shapes: B batch (times beams), T frames, A encoder width, K audio tokens, P projector width, S text positions, D backbone width,
R width of the modulated adapter.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fusion_core.backbone import Backbone
from fusion_core.context import expand_to_beams
from fusion_core.errors import ConfigError
from fusion_core.gates import Mixing, ScalarGate, TokenGate, normalise_state
from fusion_core.projector import Projector
from fusion_core.resampler import Pooling
from fusion_core.systems.base import FusionSystem, SystemConfig, closest_to_unit

Placement = Literal["broadcast", "slots", "both"]
Adapter = Literal["linear", "modulated"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdditiveConfig(SystemConfig):
    """Settings of the additive system.

    Attributes:
        placement: ``broadcast`` adds at every position, ``slots`` adds token k at placeholder k alone, ``both`` does both.
        mixing: ``gated`` lets the text state weigh the tokens, ``static`` learns one weighting a site.
        adapter: ``linear``, or ``modulated``: the text state chooses what it takes from the audio.
        gate_init: α at the start.
        pooling: how frames become tokens.
        modulated_width: R of the modulated adapter; None matches the parameters of the linear one.
    """

    placement: Placement = "broadcast"
    mixing: Mixing = "gated"
    adapter: Adapter = "linear"
    gate_init: float = 0.05
    pooling: Pooling = "max"
    modulated_width: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        choices = {
            "placement": ("broadcast", "slots", "both"),
            "mixing": ("gated", "static"),
            "adapter": ("linear", "modulated"),
            "pooling": ("max", "mean"),
        }
        for field, known in choices.items():
            if getattr(self, field) not in known:
                raise ConfigError(f"{field} is {getattr(self, field)!r}; choose one of {', '.join(known)}.")
        if self.adapter == "modulated" and self.placement != "broadcast":
            raise ConfigError(
                "adapter 'modulated' reads the text state at each position; use placement 'broadcast' with it."
            )


class LinearAdapter(nn.Module):
    """W_l: audio tokens to unit vectors of the backbone's width, once a clip."""

    def __init__(self, config: AdditiveConfig) -> None:
        super().__init__()
        self.outward = nn.Linear(config.projector_width, config.backbone_width, bias=False)

    def values(self, z_BKP: Tensor) -> Tensor:
        """Return what each token adds, v_BKD, of length 1."""
        return closest_to_unit(self.outward(z_BKP))

    def forward(self, mixed_BSD: Tensor, normalised_BSD: Tensor | None) -> Tensor:
        """Return u_BSD; the text state plays no further part."""
        return mixed_BSD


class ModulatedAdapter(nn.Module):
    """U_l, V_l and A_l: the text state scales each of R channels of the mixed audio token before it is added."""

    def __init__(self, config: AdditiveConfig) -> None:
        super().__init__()
        linear = config.projector_width * config.backbone_width
        matched = linear // (config.projector_width + 2 * config.backbone_width)
        rank = config.modulated_width or max(1, matched)
        self.audio = nn.Linear(config.projector_width, rank, bias=False)
        self.text = nn.Linear(config.backbone_width, rank, bias=False)
        self.outward = nn.Linear(rank, config.backbone_width, bias=False)
        nn.init.zeros_(self.text.weight)

    def values(self, z_BKP: Tensor) -> Tensor:
        """Return A_l z, v_BKR."""
        values_BKR: Tensor = self.audio(z_BKP)
        return values_BKR

    def forward(self, mixed_BSR: Tensor, normalised_BSD: Tensor | None) -> Tensor:
        """Return u_BSD."""
        if normalised_BSD is None:
            raise ValueError("the modulated adapter needs the normalised text state")
        return closest_to_unit(self.outward((1 + self.text(normalised_BSD)) * mixed_BSR))


class AdditiveSite(nn.Module):
    """One site: gate α, token gates and adapter, and the constant ρ of the backbone there."""

    rho: Tensor

    def __init__(self, config: AdditiveConfig) -> None:
        super().__init__()
        self.placement = config.placement
        self.scale = math.sqrt(config.backbone_width)
        self.gate = ScalarGate(config.gate_init)
        self.reads_text = config.placement != "slots" and (config.mixing == "gated" or config.adapter == "modulated")
        self.mixing = (
            None if config.placement == "slots" else TokenGate(config.tokens, config.backbone_width, config.mixing)
        )
        self.adapter: Any = LinearAdapter(config) if config.adapter == "linear" else ModulatedAdapter(config)
        self.register_buffer("rho", torch.tensor(1.0))

    def direction(self, h_BSD: Tensor, values_BKX: Tensor, slots_BS: Tensor | None) -> Tensor | None:
        """Return u_BSD (or u_B1D to be broadcast) in fp32; None where this call adds nothing."""
        total = None
        if self.mixing is not None:
            normalised_BSD = normalise_state(h_BSD) if self.reads_text else None
            weights_BSK = self.mixing(normalised_BSD)
            total = self.adapter(weights_BSK @ values_BKX, normalised_BSD)
        if self.placement != "broadcast" and slots_BS is not None and slots_BS.shape[1] == h_BSD.shape[1]:
            slots_BS1 = expand_to_beams(slots_BS, h_BSD.shape[0])[..., None]
            at_slots_BSD = torch.take_along_dim(values_BKX, slots_BS1.clamp_min(0), dim=1) * (slots_BS1 >= 0)
            total = at_slots_BSD if total is None else total + at_slots_BSD
        return total

    def neutral_direction(self, z_BKP: Tensor) -> Tensor:
        """Return d_BD: the tokens' mean addition where every token weighs 1/K and the text state is zero."""
        mean_B1X = self.adapter.values(z_BKP).mean(dim=1, keepdim=True)
        neutral_B1D = mean_B1X.new_zeros(len(mean_B1X), 1, round(self.scale**2))
        direction_B1D: Tensor = self.adapter(mean_B1X, neutral_B1D)
        return direction_B1D[:, 0]

    def forward(self, h_BSD: Tensor, values_BKX: Tensor, slots_BS: Tensor | None) -> Tensor:
        """Return the stream with the addition."""
        if self.gate.is_closed():
            return h_BSD
        direction = self.direction(h_BSD, expand_to_beams(values_BKX, h_BSD.shape[0]), slots_BS)
        if direction is None:
            return h_BSD
        return h_BSD + (self.gate.alpha * (self.rho * self.scale) * direction).to(h_BSD.dtype)


@dataclass(frozen=True)
class AdditiveContext:
    """The clips of one call: what each token adds at each site.

    Attributes:
        sites: the system's sites by block.
        values: v_BKD (modulated: v_BKR) by block.
        slots_BS: which slot each position of the prompt is; calls of another length (decoding with a cache) have none.
    """

    sites: dict[int, AdditiveSite]
    values: dict[int, Tensor]
    slots_BS: Tensor | None

    def enter_block(self, block: int, h_BSD: Tensor) -> Tensor:
        """Add the audio at a site; leave the stream as it is elsewhere."""
        site = self.sites.get(block)
        if site is None:
            return h_BSD
        result: Tensor = site(h_BSD, self.values[block], self.slots_BS)
        return result


class Additive(FusionSystem):
    """Additive, layer-selective fusion with a projector and one gated site a chosen block."""

    name = "additive"
    config_type = AdditiveConfig

    def __init__(self, config: AdditiveConfig) -> None:
        super().__init__(config)
        self.projector = Projector(config.encoder_width, config.projector_width, config.tokens, config.pooling)
        self.sites = nn.ModuleDict({str(site): AdditiveSite(config) for site in config.sites})

    @property
    def slots(self) -> int:
        """K where audio is added at placeholders, 0 otherwise."""
        return 0 if self.config.placement == "broadcast" else int(self.config.tokens)

    def _site(self, site: int) -> AdditiveSite:
        module = self.sites[str(site)]
        assert isinstance(module, AdditiveSite)
        return module

    def bind(self, x_BTA: Tensor, mask_BT: Tensor, slots_BS: Tensor | None = None) -> AdditiveContext:
        """Project the clips and compute, once a clip, what each audio token adds at each site."""
        z_BKP = self.projector(x_BTA, mask_BT)
        sites = {site: self._site(site) for site in self.config.sites}
        values = {site: module.adapter.values(z_BKP) for site, module in sites.items()}
        return AdditiveContext(sites, values, None if slots_BS is None else slots_BS.to(z_BKP.device))

    def directions(self, x_BTA: Tensor, mask_BT: Tensor) -> list[Tensor]:
        """Return the mean over the tokens of what each site adds, with neutral gates, d_BD by site."""
        z_BKP = self.projector(x_BTA, mask_BT)
        return [self._site(site).neutral_direction(z_BKP) for site in self.config.sites]

    def calibrate(self, backbone: Backbone) -> None:
        """Measure ρ at the sites on the bare prompt."""
        rho = backbone.residual_rms(self.config.sites, backbone.prompt())
        for site, value in rho.items():
            self._site(site).rho.fill_(value)

    def residual_rms(self) -> dict[int, float]:
        """Return ρ by site."""
        return {site: float(self._site(site).rho) for site in self.config.sites}

    def set_statistics(self, mean_A: Tensor, deviation_A: Tensor) -> None:
        """Keep the statistics of the training split in the projector."""
        self.projector.set_statistics(mean_A, deviation_A)

    def resample(self, x_BTA: Tensor, mask_BT: Tensor) -> Tensor:
        """Return the resampled frames x_BKA."""
        return self.projector.resample(x_BTA, mask_BT)

    def gate_values(self) -> dict[int, float]:
        """Return α by site."""
        return {site: float(self._site(site).gate.alpha.detach()) for site in self.config.sites}

    def penalty(self) -> Tensor:
        """Return Σα²."""
        return torch.stack([self._site(site).gate.penalty() for site in self.config.sites]).sum()

    def part_of(self, parameter: str) -> str:
        """Name the part of a parameter; α alone is a gate, token gates count as adapters."""
        if parameter.startswith("projector."):
            return "projector"
        return "gates" if parameter.endswith("gate.alpha") else "adapters"
