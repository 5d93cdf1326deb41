"""Systems that add audio to the residual stream at sites: what their configurations, sites and contexts have in common.

A site stands at the entrance of a decoder block l and adds to the stream there, at every position t:

    h[l, t] += s_l · ρ_l · c · a_l(h[l, t], z)

with z the audio tokens of the projector, s_l the strength of the site's gate, ρ_l the median RMS of the frozen stream there, and
c·a_l of an RMS near 1: so s_l is the size of the addition relative to the stream.

Shapes: B batch (times beams), T frames, A encoder width, K audio tokens, P projector width, S text positions, D backbone width.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from fusion_core.backbone import Backbone
from fusion_core.gates import ScalarGate, TanhGate
from fusion_core.projector import Projector
from fusion_core.resampler import Pooling
from fusion_core.systems.base import FusionSystem, SystemConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class AudioConfig(SystemConfig):
    """Settings of every system with audio tokens and sites.

    Attributes:
        encoder_width: A.
        sites: the blocks at whose entrance the system acts, counted from 0.
        tokens: K, audio tokens a clip.
        projector_width: P.
        pooling: how frames become tokens.
        hears: ``all`` adds at every position; ``answer`` from the prompt's last token on, so that the rest of the prompt is read
            once for all clips.
    """

    encoder_width: int
    sites: tuple[int, ...]
    tokens: int = 16
    projector_width: int = 768
    pooling: Pooling = "max"
    hears: Literal["all", "answer"] = "all"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_blocks("sites")
        self.require_positive("tokens", "projector_width", "encoder_width")
        self.require_choice(pooling=("max", "mean"), hears=("all", "answer"))

    @property
    def slots(self) -> int:
        """How many placeholder tokens the prompt needs."""
        return 0


class Site(nn.Module, ABC):
    """One site: its gate and the constant ρ of the backbone there; what it adds is up to the system.

    Attributes:
        learns_from_closed: whether the gate starts at 0, so that in training the addition is computed although it is 0.
    """

    learns_from_closed: ClassVar[bool] = False
    rho: Tensor

    def __init__(self, gate: ScalarGate | TanhGate, scale: float) -> None:
        super().__init__()
        self.gate = gate
        self.scale = scale
        self.register_buffer("rho", torch.tensor(1.0))

    @abstractmethod
    def values(self, z_BKP: Tensor) -> Any:
        """Return what is computed of the audio once a clip."""

    @abstractmethod
    def addition(self, h_BSD: Tensor, values: Any, slots_BS: Tensor | None) -> Tensor | None:
        """Return a_BSD (or a_B1D to be broadcast) in fp32; None where this call adds nothing."""

    @abstractmethod
    def neutral_direction(self, z_BKP: Tensor) -> Tensor:
        """Return d_BD: what the clip adds where the text state is zero and every token weighs the same."""

    def forward(self, h_BSD: Tensor, values: Any, slots_BS: Tensor | None) -> Tensor:
        """Return the stream with the addition."""
        addition = self.addition(h_BSD, values, slots_BS)
        if addition is None:
            return h_BSD
        return h_BSD + (self.gate.strength * (self.rho * self.scale) * addition).to(h_BSD.dtype)


@dataclass(frozen=True)
class SiteContext:
    """The clips of one call.

    Attributes:
        sites: the sites that add something, by block.
        values: what each site has computed of the clips, by block.
        slots_BS: which slot each position of the prompt is; calls of another length (decoding with a cache) have none.
    """

    sites: dict[int, Site]
    values: dict[int, Any]
    slots_BS: Tensor | None

    def enter_block(self, block: int, h_BSD: Tensor) -> Tensor:
        """Add the audio at a site; leave the stream as it is elsewhere."""
        site = self.sites.get(block)
        if site is None:
            return h_BSD
        result: Tensor = site(h_BSD, self.values[block], self.slots_BS)
        return result


class SitedSystem(FusionSystem):
    """A projector and one site a chosen block.

    Args:
        config: its settings.
        builders: what makes the site of each block.
    """

    shared_options: ClassVar[tuple[str, ...]] = ("sites", "tokens", "projector_width", "pooling", "hears")
    projector: Projector

    def __init__(self, config: AudioConfig, builders: Mapping[int, Callable[[], Site]]) -> None:
        super().__init__(config)
        self.projector = Projector(config.encoder_width, config.projector_width, config.tokens, config.pooling)
        self.sites = nn.ModuleDict({str(block): build() for block, build in builders.items()})

    @property
    def slots(self) -> int:
        """How many placeholder tokens the prompt needs."""
        return int(self.config.slots)

    @property
    def hears_prompt(self) -> bool:
        """Whether the audio acts on the whole prompt."""
        return bool(self.config.hears == "all")

    @property
    def first_site(self) -> int:
        """The lowest site."""
        return min(self.sites_by_block())

    def sites_by_block(self) -> dict[int, Site]:
        """Return the sites, lowest block first."""
        return {int(block): site for block, site in self.sites.items() if isinstance(site, Site)}

    def bind(self, x_BTA: Tensor, mask_BT: Tensor, slots_BS: Tensor | None = None) -> SiteContext:
        """Project the clips and compute, once a clip, what each site needs of them."""
        z_BKP = self.projector(x_BTA, mask_BT)
        sites = self._open_sites()
        values = {block: site.values(z_BKP) for block, site in sites.items()}
        return SiteContext(sites, values, None if slots_BS is None else slots_BS.to(z_BKP.device))

    def _open_sites(self) -> dict[int, Site]:
        """Return the sites that add something. One whose gate is exactly 0 is left out, as 0·NaN would be NaN."""
        sites = self.sites_by_block()
        strengths = torch.stack([site.gate.strength.detach() for site in sites.values()])
        if strengths.is_meta:
            return sites
        learning = torch.is_grad_enabled()
        return {
            block: site
            for (block, site), strength in zip(sites.items(), strengths.tolist(), strict=True)
            if strength or (learning and site.learns_from_closed)
        }

    def directions(self, x_BTA: Tensor, mask_BT: Tensor) -> list[Tensor]:
        """Return what each site adds to a neutral text state, d_BD by site."""
        z_BKP = self.projector(x_BTA, mask_BT)
        return [site.neutral_direction(z_BKP) for site in self.sites_by_block().values()]

    def calibrate(self, backbone: Backbone) -> None:
        """Measure ρ at the sites on the bare prompt."""
        sites = self.sites_by_block()
        for block, value in backbone.residual_rms(tuple(sites), backbone.prompt()).items():
            sites[block].rho.fill_(value)

    def residual_rms(self) -> dict[int, float]:
        """Return ρ by site."""
        return {block: float(site.rho) for block, site in self.sites_by_block().items()}

    def gate_values(self) -> dict[int | str, float]:
        """Return the strength of the gate by site."""
        return {block: float(site.gate.strength.detach()) for block, site in self.sites_by_block().items()}

    def penalty(self) -> Tensor:
        """Return the sum of the squared strengths."""
        return torch.stack([site.gate.strength.square() for site in self.sites_by_block().values()]).sum()
