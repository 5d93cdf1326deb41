"""Sites whose token gates mix the audio tokens and whose adapter turns the mixture into a direction of length 1.

    h[l, t] += α_l · ρ_l · √D · u_{l,t} ,   u_{l,t} = adapter(Σ_k w_{l,t,k} v_{l,k}, h[l, t])

with v_{l,k} what the adapter has computed of audio token k, once a clip, and w the token gates
(:class:`fusion_core.gates.TokenGate`). With placement ``slots`` the k-th token alone is added at slot k. With ``peak`` each
channel's largest value over the tokens is added to every token, so that a short event is not lost in a mean over the clip:

    v_{l,k} + m_l ⊙ max_j v_{l,j}     with m_l = 1 at the start

Shapes: B batch (times beams), K audio tokens, P projector width, S text positions, D backbone width, X width of the adapter's v.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from fusion_core.context import expand_to_beams
from fusion_core.errors import ConfigError
from fusion_core.gates import Mixing, ScalarGate, TokenGate, normalise_state
from fusion_core.systems.sites import AudioConfig, Site

Placement = Literal["broadcast", "slots", "both"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class GatedConfig(AudioConfig):
    """Settings of systems with token gates.

    Attributes:
        placement: ``broadcast`` adds at every position, ``slots`` adds token k at placeholder k alone, ``both`` does both.
        mixing: ``gated`` lets the text state weigh the tokens, ``static`` learns one weighting a site.
        gate_init: α at the start.
        peak: whether each channel's largest value over the tokens is heard beside their mixture.
    """

    placement: Placement = "broadcast"
    mixing: Mixing = "gated"
    gate_init: float = 0.05
    peak: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_choice(placement=("broadcast", "slots", "both"), mixing=("gated", "static"))
        if self.placement != "broadcast" and self.hears == "answer":
            raise ConfigError(f"placement {self.placement!r} adds in the prompt; use hears 'all' with it.")

    @property
    def slots(self) -> int:
        """K where audio is added at placeholders, 0 otherwise."""
        return 0 if self.placement == "broadcast" else self.tokens


class SiteAdapter(nn.Module, ABC):
    """Turns mixed audio tokens into the direction that is added.

    Attributes:
        reads_normalised: whether :meth:`forward` needs LN(h).
        channels: X.
    """

    reads_normalised: ClassVar[bool] = False
    channels: int

    @abstractmethod
    def values(self, z_BKP: Tensor) -> Tensor:
        """Return v_BKX, computed once a clip."""

    @abstractmethod
    def forward(self, mixed_BSX: Tensor, h_BSD: Tensor, normalised_BSD: Tensor | None) -> Tensor:
        """Return u_BSD from the mixed tokens, the text state and LN of it."""


class GatedSite(Site):
    """One site: gate α, token gates and adapter.

    Args:
        config: settings.
        adapter: the adapter's type, made from ``config``.
    """

    def __init__(self, config: GatedConfig, adapter: type[SiteAdapter]) -> None:
        super().__init__(ScalarGate(config.gate_init), math.sqrt(config.backbone_width))
        self.width = config.backbone_width
        self.placement = config.placement
        self.mixing = (
            None if config.placement == "slots" else TokenGate(config.tokens, config.backbone_width, config.mixing)
        )
        self.adapter = adapter(config)
        self.peak = nn.Parameter(torch.ones(self.adapter.channels)) if config.peak else None
        self.normalises = self.mixing is not None and (config.mixing == "gated" or adapter.reads_normalised)

    def values(self, z_BKP: Tensor) -> Tensor:
        """Return v_BKX, what each token adds before mixing."""
        values_BKX = self.adapter.values(z_BKP)
        if self.peak is None:
            return values_BKX
        return values_BKX + self.peak * values_BKX.amax(dim=1, keepdim=True)

    def addition(self, h_BSD: Tensor, values: Tensor, slots_BS: Tensor | None) -> Tensor | None:
        """Return u_BSD (or u_B1D to be broadcast) in fp32; None where this call adds nothing."""
        values_BKX = expand_to_beams(values, h_BSD.shape[0])
        total: Tensor | None = None
        if self.mixing is not None:
            normalised_BSD = normalise_state(h_BSD) if self.normalises else None
            total = self.adapter(self.mixing(normalised_BSD) @ values_BKX, h_BSD, normalised_BSD)
        if self.placement != "broadcast" and slots_BS is not None and slots_BS.shape[1] == h_BSD.shape[1]:
            slots_BS1 = expand_to_beams(slots_BS, h_BSD.shape[0])[..., None]
            tokens_BSX = torch.take_along_dim(values_BKX, slots_BS1.clamp_min(0), dim=1)
            at_slots_BSD = self.adapter(tokens_BSX, h_BSD, None) * (slots_BS1 >= 0)
            total = at_slots_BSD if total is None else total + at_slots_BSD
        return total

    def neutral_direction(self, z_BKP: Tensor) -> Tensor:
        """Return d_BD: the tokens' mean addition where every token weighs 1/K and the text state is zero."""
        mean_B1X = self.values(z_BKP).mean(dim=1, keepdim=True)
        neutral_B1D = mean_B1X.new_zeros(len(mean_B1X), 1, self.width)
        direction_B1D: Tensor = self.adapter(mean_B1X, neutral_B1D, neutral_B1D)
        return direction_B1D[:, 0]
