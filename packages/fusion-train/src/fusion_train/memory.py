"""How much memory a call needs beyond what is held already: the allocator's peak on CUDA, the resident set's on Linux CPUs."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

import torch

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_RESET_PEAK = "5"


def peak_memory(call: Callable[[], None], device: torch.device) -> int | None:
    """Return the bytes that a call needs at its peak beyond those held before it; None where the system cannot tell."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    try:
        # What earlier calls freed stays with the process unless it is given back; a call that takes it again would seem free.
        ctypes.CDLL(None).malloc_trim(0)
        _CLEAR.write_text(_RESET_PEAK)
        before = _resident("VmRSS")
        call()
        return max(0, _resident("VmHWM") - before)
    except (OSError, KeyError, AttributeError):
        call()
        return None


def _resident(what: str) -> int:
    """Return a size from the process's status in bytes."""
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines() if ":" in line)
    return int(lines[what].split()[0]) * 1024
