"""The system of a run of several modalities: what another run has learned, and what begins from nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from fusion_core.backbone import Backbone
from fusion_core.errors import ConfigError
from fusion_core.files import sha256_file
from fusion_core.freeze import freeze
from fusion_core.systems import SYSTEMS
from fusion_core.systems.base import WEIGHTS_FILE, FusionSystem, load_system
from fusion_core.systems.joint import Joint
from fusion_encoders.registry import ENCODERS
from fusion_eval.schemas import RunCard

from fusion_train.card import CARD_FILE
from fusion_train.config import RunSettings
from fusion_train.modal_encoders import encoder_name
from fusion_train.model import ADAPTER_FOLDER, read_settings, system_config


@dataclass(frozen=True)
class Start:
    """What a training begins with.

    Attributes:
        members: trained systems by modality.
        encoders: the names of their encoders.
        adapter_sha256: of the weights' file they come from.
        backbone_sha256: of the language model they were trained on.
    """

    members: Mapping[str, FusionSystem]
    encoders: Mapping[str, str]
    adapter_sha256: str
    backbone_sha256: str


def read_start(folder: Path) -> Start:
    """Load the modalities of a finished run, of one modality or of several.

    Raises:
        DataError: the folder is no finished run.
    """
    settings: RunSettings = read_settings(folder)["settings"]
    system = load_system(folder / ADAPTER_FOLDER)
    sha256 = sha256_file(folder / ADAPTER_FOLDER / WEIGHTS_FILE)
    backbone = RunCard.read(folder / CARD_FILE).backbone.weights_sha256
    if isinstance(system, Joint):
        encoders = {name: encoder_name(settings, name) for name in settings.modalities}
        return Start(system.by_modality(), encoders, sha256, backbone)
    modality = str(ENCODERS.load(settings.encoder).modality)
    return Start({modality: system}, {modality: settings.encoder}, sha256, backbone)


def build_joint(
    name: str, settings: RunSettings, backbone: Backbone, widths: Mapping[str, int], start: Start | None
) -> Joint:
    """Build the system of a run on its backbone, attached; what is frozen does not train.

    Args:
        name: the system that each modality gets, such as ``additive``.
        settings: the run's settings.
        backbone: the frozen model.
        widths: of the encoders by modality.
        start: what some modalities begin with; None for nothing.

    Raises:
        ConfigError: ``start`` does not fit, or a modality is frozen that begins from nothing.
    """
    if start is not None:
        _require_fit(start, settings, backbone)
    members: dict[str, FusionSystem] = {}
    for modality, own in settings.modalities.items():
        if start is not None and modality in start.members:
            members[modality] = start.members[modality]
        elif own.frozen:
            raise ConfigError(f"modalities.{modality} is frozen and begins from nothing; give a run with it by --init.")
        else:
            members[modality] = _fresh(name, settings, backbone, widths[modality])
    sites = {modality: tuple(member.config.sites) for modality, member in members.items()}
    if len(set(sites.values())) > 1:
        raise ConfigError(
            f"The modalities act at different sites ({sites}); give those of --init by --set reference.sites=…."
        )
    joint = Joint.of(members).to(backbone.device)
    for modality, own in settings.modalities.items():
        if own.frozen:
            freeze(joint.by_modality()[modality])
    joint.attach(backbone)
    return joint


def _fresh(name: str, settings: RunSettings, backbone: Backbone, width: int) -> FusionSystem:
    config = system_config(name, settings, backbone, width)
    system_type: type[FusionSystem] = SYSTEMS.load(name)
    torch.manual_seed(settings.seed)
    system = system_type(config)
    system.calibrate(backbone)
    return system


def _require_fit(start: Start, settings: RunSettings, backbone: Backbone) -> None:
    known = {backbone.identity.weights_sha256, str(getattr(backbone, "language_sha256", ""))}
    if start.backbone_sha256 not in known:
        raise ConfigError(
            f"The run of --init was trained on another backbone than {backbone.identity.name}; give that one."
        )
    for modality, encoder in start.encoders.items():
        if modality in settings.modalities and encoder_name(settings, modality) != encoder:
            raise ConfigError(
                f"The {modality} of --init has encoder {encoder!r}; give --set modalities.{modality}.encoder={encoder}."
            )
