"""Small audio files and a filled cache, for the tests of the encoders."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

Clips = list[tuple[str, Path, str]]


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype(np.float32)


@pytest.fixture
def make_clips(tmp_path: Path) -> Callable[[int], Clips]:
    """Write that many noises of 0.15 to 0.6 s at 16 kHz, each different, and return (id, path, SHA-256)."""

    def make(count: int) -> Clips:
        folder = tmp_path / "clips"
        folder.mkdir(exist_ok=True)
        clips = []
        for number in range(count):
            path = folder / f"{number:03}.wav"
            soundfile.write(path, noise(2_400 + 700 * (number % 11), seed=number), 16_000, subtype="PCM_16")
            clips.append((f"clip-{number}", path, hashlib.sha256(path.read_bytes()).hexdigest()))
        return clips

    return make
