"""Fusion systems: one file each, found by name through :data:`SYSTEMS`."""

from __future__ import annotations

from fusion_core.registry import LazyRegistry

SYSTEMS = LazyRegistry(
    "system",
    "fusion.systems",
    {
        "additive": "fusion_core.systems.additive:Additive",
    },
)
