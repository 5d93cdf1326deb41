"""The peak of a call is what it needs, also where the process holds freed memory of earlier calls."""

from __future__ import annotations

import sys

import pytest
import torch
from fusion_train.memory import peak_memory


@pytest.mark.skipif(sys.platform != "linux", reason="the resident set's peak is read from Linux's /proc")
def test_the_peak_is_what_a_call_holds_at_once():
    mebibyte = 2**20

    def hold(mebibytes: int) -> None:
        parts = [torch.ones(mebibyte // 4) for _ in range(mebibytes)]
        assert len(parts) == mebibytes

    cpu = torch.device("cpu")
    for _ in range(3):  # the second time the memory has been freed before
        assert peak_memory(lambda: hold(64), cpu) == pytest.approx(64 * mebibyte, rel=0.1)
    assert peak_memory(lambda: None, cpu) < 4 * mebibyte
