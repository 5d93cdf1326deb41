"""The precision in which an encoder computes."""

from __future__ import annotations

from typing import Literal

import torch
from fusion_core.device import native_dtype
from fusion_core.errors import ConfigError

Precision = Literal["auto", "float32", "bfloat16"]


def resolve_precision(dtype: str, encoder: str) -> torch.dtype:
    """Return the type that ``dtype`` names; ``auto`` is the faster on this machine.

    Raises:
        ConfigError: ``dtype`` is none of the three.
    """
    if dtype == "auto":
        return native_dtype()
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    if dtype not in known:
        raise ConfigError(f"dtype {dtype!r} of encoder {encoder} is none of auto, float32, bfloat16")
    return known[dtype]
