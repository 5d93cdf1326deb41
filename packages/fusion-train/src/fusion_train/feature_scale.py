"""What a large dataset costs before anything is trained: preparing it, opening its manifest and features, an epoch's features.

The clips are one short sound under many names, and their frames are one block of numbers, so that only what grows with the
number of clips is measured.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from fusion_encoders.cache import FeatureCache
from fusion_encoders.logmel import LogMelEncoder
from fusion_eval.schemas import ManifestRow

from fusion_train.datasets.base import open_dataset
from fusion_train.datasets.folder import FolderOptions, FolderRecipe
from fusion_train.examples import gather_features
from fusion_train.memory import peak_memory

_SAMPLE_RATE = 8_000
_SOUND_SECONDS = 0.2
_BATCH = 16


@dataclass(frozen=True)
class Cost:
    """What a stage took.

    Attributes:
        seconds: by the clock.
        processor: seconds of the processor, which other processes do not lengthen.
        memory: bytes beyond what the process held before, at the peak; None where the system cannot tell.
    """

    seconds: float
    processor: float
    memory: int | None


@dataclass(frozen=True)
class ScaleCost:
    """What a dataset of so many clips costs.

    Attributes:
        clips: how many.
        prepare: each file is decoded and hashed, manifest and references are written.
        manifest: the manifest is read and checked.
        features: the feature cache is opened.
        epoch: every clip's frames are read once in random order, in batches.
        frame_bytes: the size of all frames on the disk.
    """

    clips: int
    prepare: Cost
    manifest: Cost
    features: Cost
    epoch: Cost
    frame_bytes: int


def measure_scale(folder: Path, clips: int, frames: int = 20) -> ScaleCost:
    """Make a dataset of ``clips`` clips and its features (``frames`` frames of 512 values) in an empty folder, and measure.

    Raises:
        DataError: the disk is full.
    """
    _make_sounds(folder / "sounds", clips)
    root, encoder = folder / "root", LogMelEncoder(bands=64, patch_frames=8)
    options = FolderOptions(audio_dir=folder / "sounds")
    prepare = _cost(lambda: FolderRecipe().prepare(root, options))
    manifest = _cost(lambda: open_dataset(root).manifest)
    hashes = [_digest(row) for row in open_dataset(root).manifest]
    size = _fill(FeatureCache(encoder, folder / "features"), hashes, frames)
    opened = _cost(lambda: FeatureCache(encoder, folder / "features"))
    cache = FeatureCache(encoder, folder / "features")
    return ScaleCost(clips, prepare, manifest, opened, _cost(lambda: _epoch(cache, hashes)), size)


def _make_sounds(folder: Path, clips: int) -> None:
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, int(_SOUND_SECONDS * _SAMPLE_RATE))
    sound = folder.with_suffix(".wav")
    soundfile.write(sound, noise, _SAMPLE_RATE)
    for number in range(clips):
        os.link(sound, folder / f"{number:06d}.wav")


def _digest(row: ManifestRow) -> str:
    """Return a hash of its own for each clip, whose files are one."""
    return hashlib.sha256(row.id.encode()).hexdigest()


def _fill(cache: FeatureCache, hashes: list[str], frames: int) -> int:
    block_TA = np.random.default_rng(0).standard_normal((frames, 512)).astype(np.float16)
    with cache.writing() as writer:
        for digest in hashes:
            writer.append(digest, block_TA)
    return len(hashes) * block_TA.nbytes


def _epoch(cache: FeatureCache, hashes: list[str]) -> None:
    order = np.random.default_rng(0).permutation(len(hashes))
    for start in range(0, len(order), _BATCH):
        gather_features([hashes[index] for index in order[start : start + _BATCH]], cache.get)


def _cost(call: Callable[[], object]) -> Cost:
    clock = processor = 0.0

    def timed() -> None:
        nonlocal clock, processor
        started, used = time.perf_counter(), time.process_time()
        call()
        clock, processor = time.perf_counter() - started, time.process_time() - used

    memory = peak_memory(timed, torch.device("cpu"))
    return Cost(clock, processor, memory)
