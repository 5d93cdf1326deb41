"""A tiny frozen backbone and adapters of every kind on it."""

from __future__ import annotations

import itertools

import pytest
import torch
from fusion_core.backbone import Backbone
from fusion_core.pretrained import load_backbone
from fusion_core.systems.additive import Additive, AdditiveConfig

ENCODER_WIDTH = 12
KINDS = [
    {"placement": placement, "mixing": mixing, "adapter": adapter}
    for placement, mixing, adapter in itertools.product(
        ("broadcast", "slots", "both"), ("gated", "static"), ("linear", "modulated")
    )
    if adapter == "linear" or placement == "broadcast"
]


@pytest.fixture(scope="session")
def backbone() -> Backbone:
    """The tiny random Llama in fp32."""
    return load_backbone("tiny-random")


def make_system(backbone: Backbone, *, alpha: float = 0.3, seed: int = 1, **options: object) -> Additive:
    """Build a calibrated adapter whose gates, token gates and modulation are not at their starting values."""
    torch.manual_seed(seed)
    config = AdditiveConfig(
        backbone_width=backbone.width,
        backbone_depth=backbone.depth,
        encoder_width=ENCODER_WIDTH,
        sites=(3, 6),
        tokens=4,
        projector_width=24,
        gate_init=alpha,
        **options,
    )
    system = Additive(config)
    with torch.no_grad():
        for name, parameter in system.named_parameters():
            if "mixing" in name or name.endswith("adapter.text.weight"):
                parameter.normal_(std=0.5)
    system.calibrate(backbone)
    return system.eval()


@pytest.fixture(params=KINDS, ids=lambda kind: "-".join(kind.values()))
def system(request: pytest.FixtureRequest, backbone: Backbone) -> Additive:
    """An adapter of each placement, mixing and adapter."""
    return make_system(backbone, **request.param)


@pytest.fixture
def frames() -> tuple[torch.Tensor, torch.Tensor]:
    """Frames of three clips of 9, 5 and 2 frames, and their mask."""
    generator = torch.Generator().manual_seed(3)
    x_BTA = torch.randn(3, 9, ENCODER_WIDTH, generator=generator)
    mask_BT = torch.arange(9)[None] < torch.tensor([9, 5, 2])[:, None]
    return x_BTA * mask_BT[..., None], mask_BT
