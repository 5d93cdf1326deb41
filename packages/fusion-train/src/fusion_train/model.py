"""A run's model on this machine: encoder, frozen backbone and system, built from settings or loaded from a finished run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fusion_core.backbone import Backbone
from fusion_core.device import default_device, native_dtype
from fusion_core.errors import ConfigError, DataError
from fusion_core.match import matched_config
from fusion_core.pretrained import load_backbone
from fusion_core.systems import SYSTEMS
from fusion_core.systems.additive import Additive, AdditiveConfig
from fusion_core.systems.base import FusionSystem, SystemConfig, load_system
from fusion_encoders.base import FeatureSequence, FrozenEncoder
from fusion_encoders.faults import MediaFault
from fusion_encoders.registry import load_encoder
from torch import Tensor

from fusion_train.captioner import Captioner
from fusion_train.config import DecodingSettings, RunSettings
from fusion_train.examples import Features
from fusion_train.modal_encoders import load_encoders
from fusion_train.modalities import ModalFeatures

ADAPTER_FOLDER = "adapter"
SETTINGS_FILE = "settings.json"
PRECISIONS = {"bf16": torch.bfloat16, "fp32": torch.float32}


def compute_dtype(precision: str) -> torch.dtype:
    """Return the type in which the frozen weights compute; ``auto`` is bf16 where the machine is faster in it."""
    return native_dtype() if precision == "auto" else PRECISIONS[precision]


def build_backbone(settings: RunSettings) -> Backbone:
    """Load the frozen backbone of a run in its precision, on this machine's device."""
    return load_backbone(settings.backbone, compute_dtype(settings.precision)).to(default_device())


def reference_config(settings: RunSettings, backbone: Backbone, encoder_width: int) -> AdditiveConfig | None:
    """Return the additive configuration that systems are matched to; None where the settings have none.

    Raises:
        ConfigError: an option is unknown or wrong.
    """
    if not settings.reference:
        return None
    facts = {**Additive.backbone_options(backbone), "encoder_width": encoder_width}
    _refuse_unknown("reference", "additive", settings.reference, AdditiveConfig, facts)
    return AdditiveConfig(**facts, **settings.reference)


def build_system(name: str, settings: RunSettings, backbone: Backbone, encoder_width: int) -> FusionSystem:
    """Build an untrained system whose initial weights depend on the seed alone, calibrated on the backbone and attached to it.

    Raises:
        ConfigError: there is no such system, it has no such option, or an option is missing.
    """
    config = system_config(name, settings, backbone, encoder_width)
    system_type: type[FusionSystem] = SYSTEMS.load(name)
    torch.manual_seed(settings.seed)
    system = system_type(config)
    system.calibrate(backbone)
    system.to(backbone.device)
    system.attach(backbone)
    return system


def system_config(name: str, settings: RunSettings, backbone: Backbone, encoder_width: int) -> SystemConfig:
    """Return the configuration of a run's system; the backbone may be an outline without weights.

    Its options are ``settings.system``; what it shares with the additive system is taken from ``settings.reference``, and where
    no size is given it is matched to that system's.

    Raises:
        ConfigError: there is no such system, it has no such option, or an option is missing.
    """
    system_type: type[FusionSystem] = SYSTEMS.load(name)
    if system_type.name != name:
        raise ConfigError(f"The system registered as {name!r} calls itself {system_type.name!r}; make the names equal.")
    config_type = system_type.config_type
    reference = reference_config(settings, backbone, encoder_width)
    facts = {**system_type.backbone_options(backbone), "encoder_width": encoder_width}
    facts = {option: value for option, value in facts.items() if option in _options(config_type)}
    _refuse_unknown("system", name, settings.system, config_type, facts)
    try:
        if reference is None:
            return config_type(**facts, **settings.system)
        return matched_config(name, reference, {**facts, **settings.system})
    except TypeError as error:
        raise ConfigError(f"system {name!r}: {error}; give it by --set system.KEY=VALUE or in the profile.") from None


def _options(config_type: type[SystemConfig]) -> list[str]:
    return [field.name for field in dataclasses.fields(config_type)]


def _refuse_unknown(
    place: str, name: str, given: dict[str, Any], config_type: type[SystemConfig], facts: dict[str, Any]
) -> None:
    """Raise ConfigError for an option that the system lacks or that backbone and encoder decide."""
    known = [option for option in _options(config_type) if option not in facts]
    for option in given:
        if option in facts:
            raise ConfigError(f"{place}.{option} follows from backbone and encoder; leave it out.")
        if option not in known:
            raise ConfigError(f"{place}.{option}: {name!r} has no such option; it has {', '.join(known)}.")


@dataclass(frozen=True)
class TrainedModel:
    """A finished run, ready to caption files.

    Attributes:
        encoders: what turns files into frames, by modality.
        several: whether the system binds several modalities at once.
        captioner: backbone, adapter and prompt.
        decoding: the run's decoding settings.
    """

    encoders: Mapping[str, FrozenEncoder]
    several: bool
    captioner: Captioner
    decoding: DecodingSettings

    def read(self, path: Path) -> dict[str, Tensor]:
        """Return the frames x_TA of a file by modality; one that it lacks is left out.

        Raises:
            MediaFault: the file has none of them.
        """
        frames, faults = {}, []
        for modality, encoder in self.encoders.items():
            try:
                frames[modality] = encoder.encode(encoder.read(path))
            except MediaFault as fault:
                faults.append(fault)
        if not frames:
            raise faults[0]
        return frames

    def features(self, files: Sequence[Mapping[str, Tensor]]) -> Features:
        """Join what was read of some files into one batch."""
        if self.several:
            return ModalFeatures.join(files)
        return FeatureSequence.pad([frames for file in files for frames in file.values()])


def save_settings(system: str, dataset: str, settings: RunSettings) -> bytes:
    """Return the content of a run's ``settings.json``."""
    content = {"system": system, "dataset": dataset, "settings": settings.model_dump(mode="json")}
    return json.dumps(content, indent=2).encode()


def read_settings(folder: Path) -> dict[str, Any]:
    """Return ``system``, ``dataset`` and ``settings`` of a run directory.

    Raises:
        DataError: the folder is no run directory.
    """
    path = folder / SETTINGS_FILE
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        content["settings"] = RunSettings.model_validate(content["settings"])
    except FileNotFoundError:
        raise DataError(
            f"{folder}: no run here ({SETTINGS_FILE} is absent); give the folder that fusion train wrote."
        ) from None
    except (ValueError, KeyError) as error:
        raise DataError(f"{path}: cannot be read as a run's settings ({str(error).splitlines()[0]}).") from None
    return content


def load_run(folder: Path) -> TrainedModel:
    """Load encoder, backbone and adapter of a finished run.

    Raises:
        DataError: the folder is no finished run.
        MissingAssetError: the weights of the encoder or backbone are not on this machine.
    """
    settings: RunSettings = read_settings(folder)["settings"]
    backbone = build_backbone(settings)
    system = load_system(folder / ADAPTER_FOLDER).to(backbone.device)
    system.attach(backbone)
    several = bool(settings.modalities)
    prompt = system.prompt(backbone, settings.mixture.instruction) if several else system.prompt(backbone)
    encoders = load_encoders(settings) if several else {"": load_encoder(settings.encoder)}
    return TrainedModel(encoders, several, Captioner(backbone, system, prompt), settings.decoding)
