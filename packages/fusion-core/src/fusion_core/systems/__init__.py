"""Fusion systems: one file each, found by name through :data:`SYSTEMS`."""

from __future__ import annotations

from fusion_core.registry import LazyRegistry

SYSTEMS = LazyRegistry(
    "system",
    "fusion.systems",
    {
        "additive": "fusion_core.systems.additive:Additive",
        "concat": "fusion_core.systems.concat:Concat",
        "cross-attention": "fusion_core.systems.cross_attention:CrossAttention",
        "data-only": "fusion_core.systems.data_only:DataOnly",
        "hybrid": "fusion_core.systems.hybrid:Hybrid",
        "partial-unfreeze": "fusion_core.systems.partial_unfreeze:PartialUnfreeze",
    },
    unlisted={"joint": "fusion_core.systems.joint:Joint"},
)
