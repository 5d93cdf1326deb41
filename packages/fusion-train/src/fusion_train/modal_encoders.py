"""The frozen encoders of a run, one a modality."""

from __future__ import annotations

from collections.abc import Iterable

from fusion_core.errors import ConfigError
from fusion_core.systems.joint import PRIMARY
from fusion_encoders.base import FrozenEncoder
from fusion_encoders.registry import load_encoder

from fusion_train.config import RunSettings


def encoder_name(settings: RunSettings, modality: str) -> str:
    """Return the name of a modality's encoder.

    Raises:
        ConfigError: none is set.
    """
    named = settings.modalities[modality].encoder
    if named is None and modality == "audio":
        return settings.encoder
    if named is None:
        raise ConfigError(f"modalities.{modality} has no encoder; give it by --set modalities.{modality}.encoder=NAME.")
    return named


def load_encoders(settings: RunSettings) -> dict[str, FrozenEncoder]:
    """Load the encoder of each modality.

    Raises:
        ConfigError: an encoder is of another modality.
        MissingAssetError: weights are missing.
    """
    encoders = {}
    for modality in settings.modalities:
        encoder = load_encoder(encoder_name(settings, modality))
        if encoder.modality != modality:
            raise ConfigError(
                f"modalities.{modality}.encoder is {encoder.name!r}, which reads {encoder.modality}; give one for {modality}."
            )
        encoders[modality] = encoder
    return encoders


def primary(modalities: Iterable[str]) -> str:
    """Return the modality that is bound where one alone can be, as ``Joint.bind`` does."""
    names = sorted(modalities)
    return PRIMARY if PRIMARY in names else names[0]


def primary_encoder(settings: RunSettings) -> str:
    """Return the name of the encoder of what a run binds where one modality alone can be."""
    return encoder_name(settings, primary(settings.modalities)) if settings.modalities else settings.encoder
