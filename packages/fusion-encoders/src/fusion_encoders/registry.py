"""Find an encoder by name: the ones of this package, and those that other packages announce as entry points.

An encoder of ours is one file and one line in ``ENCODERS`` (of audio, video, …), ``TEXT_ENCODERS`` or ``SIMILARITIES``. Another
package adds one with an entry point in the group ``fusion.encoders``, ``fusion.text_encoders`` or ``fusion.similarities``: its
name is the encoder's, its value ``module:class``.
"""

from __future__ import annotations

import inspect
from typing import Any

from fusion_core.errors import ConfigError
from fusion_core.registry import LazyRegistry

from fusion_encoders.base import FrozenEncoder
from fusion_encoders.similarity import AudioTextSimilarity
from fusion_encoders.text import FrozenTextEncoder

ENCODERS = LazyRegistry(
    "encoder",
    "fusion.encoders",
    {
        "aisfx": "fusion_encoders.aisfx:AisfxEncoder",
        "clap": "fusion_encoders.clap:ClapEncoder",
        "clap-fused": "fusion_encoders.clap:FusedClapEncoder",
        "efficientnet-lite0": "fusion_encoders.efficientnet_frames:EfficientNetFrames",
        "logmel": "fusion_encoders.logmel:LogMelEncoder",
        "patches": "fusion_encoders.patches:PatchesEncoder",
        "timesformer": "fusion_encoders.timesformer:TimesformerEncoder",
    },
)

TEXT_ENCODERS = LazyRegistry(
    "text encoder",
    "fusion.text_encoders",
    {
        "clap": "fusion_encoders.clap:ClapTextEncoder",
        "hashed-words": "fusion_encoders.hashed_words:HashedWordsEncoder",
        "minilm": "fusion_encoders.minilm:MiniLmEncoder",
    },
)


SIMILARITIES = LazyRegistry(
    "audio-text similarity",
    "fusion.similarities",
    {
        "clap": "fusion_encoders.clap:ClapSimilarity",
        "clap-fused": "fusion_encoders.clap:FusedClapSimilarity",
    },
)
"""Those that come with a pretrained text tower; the name is also that of their audio encoder."""


def load_encoder(name: str, **options: Any) -> FrozenEncoder:
    """Return the encoder of that name, of whichever modality, made with its own options.

    Raises:
        ConfigError: there is no such encoder, or it has no such option.
        MissingAssetError: the encoder's weights or package are not installed.
    """
    encoder: FrozenEncoder = _make(ENCODERS, name, options)
    return encoder


def load_text_encoder(name: str, **options: Any) -> FrozenTextEncoder:
    """Return the text encoder of that name, made with its own options.

    Raises:
        ConfigError: there is no such encoder, or it has no such option.
        MissingAssetError: the encoder's weights or package are not installed.
    """
    encoder: FrozenTextEncoder = _make(TEXT_ENCODERS, name, options)
    return encoder


def load_pretrained_similarity(name: str, **options: Any) -> AudioTextSimilarity:
    """Return the pretrained audio-text similarity of that name, made with its own options.

    Raises:
        ConfigError: there is no such similarity, or it has no such option.
        MissingAssetError: its weights are not on this machine.
    """
    similarity: AudioTextSimilarity = _make(SIMILARITIES, name, options)
    return similarity


def _make(registry: LazyRegistry, name: str, options: dict[str, Any]) -> Any:
    factory = registry.load(name)
    try:
        inspect.signature(factory).bind(**options)
    except TypeError as error:
        known = ", ".join(inspect.signature(factory).parameters) or "none"
        raise ConfigError(f"{registry.kind} {name}: {error}; its options are: {known}") from error
    return factory(**options)
