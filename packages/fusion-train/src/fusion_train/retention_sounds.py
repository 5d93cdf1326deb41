"""What a system is made to hear while it answers questions that no sound has to do with: silence, or clips of its dataset.

Shapes: T frames, A encoder width.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from fusion_core.errors import DataError
from fusion_core.files import sha256_file
from fusion_core.journal import Journal
from fusion_core.systems.base import FusionSystem
from fusion_encoders.base import FrozenEncoder
from fusion_encoders.cache import FeatureCache
from torch import Tensor

from fusion_train.config import RunSettings
from fusion_train.datasets.base import PreparedDataset, open_dataset
from fusion_train.datasets.registry import default_root, parse_options
from fusion_train.modal_conditions import ClipHearing
from fusion_train.modalities import ModalLookup
from fusion_train.retention_reading import Hearing

SILENCE_SECONDS = 8.0
MOST_CLIPS = 64
"""How many different clips are taken in turn."""


@dataclass(frozen=True)
class Distractors:
    """Clips that distract: their frames x_TA, and where they are from."""

    clips: tuple[Tensor, ...]
    source: str


def silence(encoder: FrozenEncoder) -> tuple[Tensor, ...]:
    """Return the frames of eight seconds without a sound."""
    return (encoder.encode(torch.zeros(round(SILENCE_SECONDS * encoder.sample_rate))),)


def dataset_of(dataset: str, settings: RunSettings, folder: Path) -> PreparedDataset:
    """Open the dataset that a run was trained on: where its log says, or where it lies by default.

    Raises:
        DataError: it is not there any more.
    """
    events = [event for place in (folder, folder.parent) for event in Journal(place / "log.jsonl").read()]
    named = [Path(event["root"]) for event in events if event["event"] == "prepared"]
    root = named[0] if named else default_root(dataset, parse_options(dataset, settings.dataset))
    if not root.is_dir():
        raise DataError(
            f"The dataset {root} of {folder} is not here: run this where it lies, or give a folder of audio by --distractors."
        )
    return open_dataset(root)


def distractors_of(dataset: PreparedDataset, encoder: FrozenEncoder) -> Distractors:
    """Return the first test clips of a dataset, from the feature cache where they are in it.

    Raises:
        DataError: it has no usable test clip.
    """
    return _encode(_test_clips(dataset), encoder, f"test clips of {dataset.name}")


@dataclass(frozen=True, eq=False)
class WholeClips:
    """Clips of several modalities that distract: where their frames are, the hashes of their files, and where they are from."""

    lookup: ModalLookup
    hashes: tuple[str, ...]
    source: str


Clips = tuple[Tensor, ...] | WholeClips
"""What is bound to a system: frames x_TA of one modality, or whole clips."""


def hearing_of(system: FusionSystem, clips: Clips) -> Hearing:
    """Return the clips bound to a system, a question one, in turn."""
    if isinstance(clips, WholeClips):
        return ClipHearing(system, lookup=clips.lookup, hashes=clips.hashes)
    return Hearing(system, clips)


def whole_clips_of(dataset: PreparedDataset, encoders: Mapping[str, FrozenEncoder]) -> WholeClips:
    """Return the first test clips of a dataset with all that these encoders (by modality) make of them.

    Raises:
        DataError: it has no usable test clip.
    """
    clips = _test_clips(dataset)
    caches = {modality: FeatureCache(encoder) for modality, encoder in encoders.items()}
    for cache in caches.values():
        cache.fill(clips, workers=1)
    lookup = ModalLookup(caches)
    hashes = tuple(sha256 for _, _, sha256 in clips if lookup.has(sha256))
    if not hashes:
        raise DataError(
            f"None of the test clips of {dataset.name} can be used as a distractor; see fusion data verify."
        )
    return WholeClips(lookup, hashes, f"{len(hashes)} test clips of {dataset.name} ({', '.join(sorted(encoders))})")


def _test_clips(dataset: PreparedDataset) -> list[tuple[str, Path, str]]:
    rows = [row for row in dataset.rows("test") if row.status == "ok" and row.sha256][:MOST_CLIPS]
    return [(row.id, dataset.audio_path(row), str(row.sha256)) for row in rows]


def distractors_in(folder: Path, encoder: FrozenEncoder) -> Distractors:
    """Return the audio files of a folder, in the order of their names; what is no audio is left out.

    Raises:
        DataError: it has no usable audio file.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} does not exist; give a folder of audio files by --distractors.")
    files = sorted(path for path in folder.iterdir() if path.is_file())[:MOST_CLIPS]
    return _encode([(path.name, path, sha256_file(path)) for path in files], encoder, f"files of {folder.name}")


def _encode(clips: Iterable[tuple[str, Path, str]], encoder: FrozenEncoder, source: str) -> Distractors:
    clips = list(clips)
    cache = FeatureCache(encoder)
    cache.fill(clips, workers=1)
    frames = [cache.get(sha256) for _, _, sha256 in clips if cache.has(sha256)]
    if not frames:
        raise DataError(f"None of the {source} can be used as a distractor; give a folder of audio by --distractors.")
    tensors = tuple(torch.from_numpy(np.asarray(x_TA, dtype=np.float32)) for x_TA in frames)
    return Distractors(tensors, f"{len(tensors)} {source}")
