"""A run's model on this machine: encoder, frozen backbone and system, built from settings or loaded from a finished run."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fusion_core.backbone import Backbone
from fusion_core.device import default_device, native_dtype
from fusion_core.errors import ConfigError, DataError
from fusion_core.pretrained import load_backbone
from fusion_core.prompt import Prompt
from fusion_core.systems import SYSTEMS
from fusion_core.systems.base import FusionSystem, load_system
from fusion_encoders.base import FrozenEncoder
from fusion_encoders.registry import load_encoder

from fusion_train.captioner import Captioner
from fusion_train.config import DecodingSettings, RunSettings

ADAPTER_FOLDER = "adapter"
SETTINGS_FILE = "settings.json"
PRECISIONS = {"bf16": torch.bfloat16, "fp32": torch.float32}


def compute_dtype(precision: str) -> torch.dtype:
    """Return the type in which the frozen weights compute; ``auto`` is bf16 where the machine has it natively."""
    return native_dtype() if precision == "auto" else PRECISIONS[precision]


def build_backbone(settings: RunSettings) -> Backbone:
    """Load the frozen backbone of a run in its precision, on this machine's device."""
    return load_backbone(settings.backbone, compute_dtype(settings.precision)).to(default_device())


def build_system(name: str, settings: RunSettings, backbone: Backbone, encoder_width: int) -> FusionSystem:
    """Build an untrained system whose initial weights depend on the seed alone, calibrated on the backbone.

    Raises:
        ConfigError: there is no such system, or it has no such option.
    """
    system_type: type[FusionSystem] = SYSTEMS.load(name)
    options = {
        "backbone_width": backbone.width,
        "backbone_depth": backbone.depth,
        "encoder_width": encoder_width,
        **settings.system,
    }
    known = [field.name for field in dataclasses.fields(system_type.config_type)]
    for option in options:
        if option not in known:
            raise ConfigError(f"system.{option}: {name!r} has no such option; it has {', '.join(known)}.")
    torch.manual_seed(settings.seed)
    try:
        system = system_type(system_type.config_type(**options))
    except TypeError as error:
        raise ConfigError(f"system {name!r}: {error}; complete the profile's system settings.") from None
    system.calibrate(backbone)
    return system.to(backbone.device)


@dataclass(frozen=True)
class TrainedModel:
    """A finished run, ready to caption files.

    Attributes:
        encoder: what turns audio into frames.
        captioner: backbone, adapter and prompt.
        decoding: the run's decoding settings.
    """

    encoder: FrozenEncoder
    captioner: Captioner
    decoding: DecodingSettings


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
    prompt: Prompt = backbone.prompt(slots=system.slots)
    return TrainedModel(load_encoder(settings.encoder), Captioner(backbone, system, prompt), settings.decoding)
