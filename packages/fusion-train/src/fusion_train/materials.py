"""What an experiment works with: the prepared dataset, its features, the encoder and the frozen backbone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fusion_core.backbone import Backbone
from fusion_core.errors import DataError
from fusion_core.journal import Journal
from fusion_encoders.base import FrozenEncoder
from fusion_encoders.cache import FeatureCache
from fusion_encoders.registry import load_encoder

from fusion_train.conditions import SplitData
from fusion_train.config import RunSettings
from fusion_train.datasets.base import PreparedDataset
from fusion_train.datasets.corpus_report import denominators
from fusion_train.datasets.registry import parse_options, prepare_dataset
from fusion_train.examples import CaptionedClip, FeatureLookup
from fusion_train.modalities import ModalLookup
from fusion_train.model import build_backbone

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Materials:
    """Everything that is ready before training.

    Attributes:
        dataset: the prepared dataset.
        encoder: the frozen encoder.
        cache: its features.
        backbone: the frozen language model, on its device.
        splits: clips, references and event graphs of train, val and test.
    """

    dataset: PreparedDataset
    encoder: FrozenEncoder
    cache: FeatureCache
    backbone: Backbone
    splits: dict[str, SplitData]

    @property
    def features(self) -> FeatureLookup | ModalLookup:
        """The frames of a clip by the hash of its file."""
        return self.cache.get

    @property
    def by_modality(self) -> dict[str, FrozenEncoder]:
        """The encoders of a run of several modalities; empty where audio is alone."""
        return {}

    @property
    def adapter_sha256(self) -> str | None:
        """The weights of another run that the training begins with; None where it begins from nothing."""
        return None

    def features_by_id(self, split: SplitData) -> FeatureLookup:
        """Return a function that gives the frames of a split's clip by the clip's id."""
        hashes = {clip.id: clip.sha256 for clip in split.clips}
        return lambda clip: self.cache.get(hashes[clip])


def gather_materials(
    dataset_name: str, settings: RunSettings, root: Path | None, announce: Callable[[str], None], journal: Journal
) -> Materials:
    """Prepare the dataset and its features where they are not yet, and load encoder and backbone.

    Raises:
        ConfigError: an option is wrong.
        DataError: a split has no usable clip.
        MissingAssetError: weights are missing.
    """
    options = parse_options(dataset_name, settings.dataset)
    announce(f"data: {dataset_name}")
    dataset = prepare_dataset(dataset_name, options, root)
    scored_over = denominators(dataset) if "lists" in dataset.card.statistics else []
    journal.write("prepared", root=str(dataset.root), statistics=dataset.card.statistics, denominators=scored_over)
    for sentence in scored_over:
        announce(sentence)
    encoder = load_encoder(settings.encoder)
    cache = encode_dataset(dataset, encoder, announce, journal)
    backbone = build_backbone(settings)
    return Materials(dataset, encoder, cache, backbone, {name: split_data(dataset, name, cache) for name in SPLITS})


def encode_dataset(
    dataset: PreparedDataset, encoder: FrozenEncoder, announce: Callable[[str], None], journal: Journal
) -> FeatureCache:
    """Encode the clips of a dataset that are not in the cache yet; say which are left out, and why."""
    announce(f"features: {encoder.name}")
    cache = FeatureCache(encoder)
    usable = [row for row in dataset.manifest if row.status == "ok" and row.sha256]
    report = cache.fill((row.id, dataset.audio_path(row), str(row.sha256)) for row in usable)
    journal.write("encoded", encoded=report.encoded, cached=report.cached, quarantined=report.quarantined)
    for clip, reason in report.quarantined.items():
        announce(f"left out {clip}: {reason}")
    return cache


def split_data(dataset: PreparedDataset, name: str, cache: FeatureCache | ModalLookup) -> SplitData:
    """Return the clips of a split that have features and a caption, with references and event graphs.

    Raises:
        DataError: there is none.
    """
    references = dataset.references(name)
    captions = {item.id: tuple(item.references) for item in references.items}
    rows = [row for row in dataset.rows(name) if row.status == "ok" and row.sha256 and cache.has(row.sha256)]
    clips = [CaptionedClip(row.id, str(row.sha256), captions[row.id]) for row in rows if row.id in captions]
    if not clips:
        raise DataError(f"{dataset.root}: split {name!r} has no usable clip with a caption; see fusion data verify.")
    return SplitData(name, clips, references, dataset.events(name))
