"""Finished runs whose retention is measured: their systems, what they hear, and the one backbone that they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fusion_core.backbone import Backbone
from fusion_core.device import default_device
from fusion_core.errors import ConfigError
from fusion_core.pretrained import load_backbone
from fusion_core.systems.base import FusionSystem, load_system
from fusion_encoders.registry import load_encoder
from fusion_eval.schemas import RunCard
from torch import Tensor

from fusion_train.card import CARD_FILE
from fusion_train.config import RunSettings
from fusion_train.datasets.base import PreparedDataset
from fusion_train.modal_encoders import encoder_name, primary_encoder
from fusion_train.model import ADAPTER_FOLDER, SETTINGS_FILE, compute_dtype, read_settings
from fusion_train.retention_sounds import (
    Clips,
    Distractors,
    WholeClips,
    dataset_of,
    distractors_in,
    distractors_of,
    silence,
    whole_clips_of,
)


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """One finished run.

    Attributes:
        folder: its directory.
        card: its run card.
        settings: what it was trained with.
        dataset: the name of its dataset.
        system: the trained system, not attached yet.
    """

    folder: Path
    card: RunCard
    settings: RunSettings
    dataset: str
    system: FusionSystem


@dataclass(frozen=True)
class Sounds:
    """What a run is made to hear; nothing for a system without an audio path.

    Attributes:
        silence: its frames x_TA.
        distractors: frames x_TA of clips; of a system of several modalities the clips themselves.
        earlier: clips of the run that training began with, by the modality of that run alone; None where there is no such run.
        source: which clips these are.
    """

    silence: tuple[Tensor, ...] = ()
    distractors: Clips = ()
    earlier: WholeClips | None = None
    source: str | None = None


def read_run(folder: Path) -> TrainedRun:
    """Load the system of a finished run.

    Raises:
        DataError: the folder is no finished run.
    """
    content = read_settings(folder)
    card = RunCard.read(folder / CARD_FILE)
    return TrainedRun(folder, card, content["settings"], content["dataset"], load_system(folder / ADAPTER_FOLDER))


def shared_backbone(runs: Sequence[TrainedRun], name: str | None) -> Backbone:
    """Load the backbone of the runs, or another one around the same language model.

    Args:
        runs: one or more.
        name: the backbone that is asked; None takes that of the runs.

    Raises:
        ConfigError: the runs have different backbones or precisions, or ``name`` holds another language model.
        MissingAssetError: its weights are not on this machine.
    """
    wanted = sorted({name or run.settings.backbone for run in runs})
    precisions = sorted({str(run.settings.precision) for run in runs})
    if len(wanted) > 1 or len(precisions) > 1:
        raise ConfigError(
            f"The runs differ in backbone or precision ({', '.join(wanted + precisions)}); measure those that agree together."
        )
    backbone = load_backbone(wanted[0], compute_dtype(precisions[0])).to(default_device())
    known = {backbone.identity.weights_sha256, language_sha256(backbone)}
    for run in runs:
        if run.card.backbone.weights_sha256 not in known:
            raise ConfigError(
                f"{run.folder} was trained on {run.card.backbone.name}, whose weights are not those in {wanted[0]} "
                f"({run.card.backbone.weights_sha256[:8]}… there); give a backbone with that language model."
            )
    return backbone


def language_sha256(backbone: Backbone) -> str:
    """Return the hash of a backbone's language model; a seeing one that is built around another names it."""
    return str(getattr(backbone, "language_sha256", backbone.identity.weights_sha256))


class SoundLibrary:
    """Encodes what runs are made to hear, once for all that share encoder and dataset.

    Args:
        folder: audio files that distract; None takes the test clips of each run's own dataset.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._silence: dict[str, tuple[Tensor, ...]] = {}
        self._distractors: dict[tuple[str, Path], Distractors] = {}
        self._whole: dict[tuple[tuple[str, ...], Path], WholeClips] = {}

    def sounds(self, run: TrainedRun, distracted: bool) -> Sounds:
        """Return what a run hears; distractors only where they are asked for.

        Raises:
            DataError: the distractors are not there.
            MissingAssetError: the encoder's weights are not on this machine.
        """
        if run.system.projector is None:
            return Sounds()
        name = primary_encoder(run.settings)
        if name not in self._silence:
            self._silence[name] = silence(load_encoder(name))
        if not distracted:
            return Sounds(self._silence[name])
        if run.settings.modalities and self.folder is None:
            return self._several(run, self._silence[name])
        found = self._found(run, name)
        return Sounds(self._silence[name], found.clips, source=found.source)

    def _several(self, run: TrainedRun, quiet: tuple[Tensor, ...]) -> Sounds:
        """Return what a run of several modalities hears and sees, and what the run heard that it began with."""
        names = {modality: encoder_name(run.settings, modality) for modality in run.settings.modalities}
        own = self._whole_clips(dataset_of(run.dataset, run.settings, run.folder), names)
        earlier = self._earlier(run, names)
        return Sounds(quiet, own, earlier, own.source if earlier is None else f"{own.source}; {earlier.source}")

    def _earlier(self, run: TrainedRun, names: Mapping[str, str]) -> WholeClips | None:
        start = Path(run.settings.init or "")
        if not run.settings.init or not (start / SETTINGS_FILE).is_file():
            return None
        content = read_settings(start)
        settings: RunSettings = content["settings"]
        if settings.modalities:
            return None  # that run was one of several modalities already
        own = {modality: name for modality, name in names.items() if name == settings.encoder}
        return self._whole_clips(dataset_of(content["dataset"], settings, start), own) if own else None

    def _whole_clips(self, dataset: PreparedDataset, names: Mapping[str, str]) -> WholeClips:
        """Return the clips of a dataset by the encoders that are named for its modalities, read once."""
        key = tuple(sorted(names.values())), dataset.root
        if key not in self._whole:
            encoders = {modality: load_encoder(name) for modality, name in names.items()}
            self._whole[key] = whole_clips_of(dataset, encoders)
        return self._whole[key]

    def _found(self, run: TrainedRun, encoder: str) -> Distractors:
        dataset = None if self.folder else dataset_of(run.dataset, run.settings, run.folder)
        place = self.folder or (dataset.root if dataset else Path())
        if (encoder, place) not in self._distractors:
            loaded = load_encoder(encoder)
            found = distractors_of(dataset, loaded) if dataset else distractors_in(place, loaded)
            self._distractors[encoder, place] = found
        return self._distractors[encoder, place]
