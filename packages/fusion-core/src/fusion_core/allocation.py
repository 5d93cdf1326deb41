"""How the C library gives memory out: a process that needs the same room at every step need not ask the kernel for it anew."""

from __future__ import annotations

import ctypes
import platform

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # mallopt(3)
_SETTINGS = {_TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 2**26, _MMAP_THRESHOLD: 2**30}


def keep_freed_memory() -> bool:
    """Let this process keep what it frees, and return whether it does; glibc alone can be told so (mallopt(3)).

    By default glibc maps every array above 32 MiB anew and gives it back at once, and the kernel then clears every page again at
    its first touch. That took a sixth of a training step on a CPU; keeping it costs a fifth more memory (docs/LOG.md).
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    accepted = [mallopt(setting, value) == 1 for setting, value in _SETTINGS.items()]
    return all(accepted)
