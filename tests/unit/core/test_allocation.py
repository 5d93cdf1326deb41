"""A process that keeps what it frees does not touch new pages for each array."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS_OF_TEN_ARRAYS = """
import resource, sys, torch
from fusion_core.allocation import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.empty(64 << 20, dtype=torch.uint8).fill_(1)
before = faults()
for _ in range(10):
    torch.empty(64 << 20, dtype=torch.uint8).fill_(1)
print(faults() - before)
"""


def faults(how: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS_OF_TEN_ARRAYS, how], capture_output=True, text=True, check=True, timeout=120
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone can be told to keep what is freed")
def test_an_array_takes_the_pages_of_those_that_were_freed() -> None:
    assert faults("kept") < faults("given back") / 4
