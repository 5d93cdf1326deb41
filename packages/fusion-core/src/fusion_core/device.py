"""The machine that computes: its device, its native number type and a description for people."""

from __future__ import annotations

import os

import torch


def default_device() -> torch.device:
    """Return the accelerator, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def native_dtype() -> torch.dtype:
    """Return bfloat16 where this machine multiplies it natively, float32 elsewhere."""
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if native else torch.float32


def describe_device() -> str:
    """Return the device and the type it computes in, in words."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU with {os.cpu_count()} cores"
    return f"{name}, computes in {str(native_dtype()).removeprefix('torch.')}"
