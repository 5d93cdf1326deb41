"""Find an encoder by name: the ones of this package, and those that other packages announce as entry points.

An encoder of ours is one file and one line in ``ENCODERS``. Another package adds one with an entry point in the group
``fusion.encoders`` whose name is the encoder's and whose value is ``module:class``.
"""

from __future__ import annotations

import inspect
from typing import Any

from fusion_core.errors import ConfigError
from fusion_core.registry import LazyRegistry

from fusion_encoders.base import FrozenEncoder

ENCODERS = LazyRegistry(
    "encoder",
    "fusion.encoders",
    {
        "aisfx": "fusion_encoders.aisfx:AisfxEncoder",
        "logmel": "fusion_encoders.logmel:LogMelEncoder",
    },
)


def load_encoder(name: str, **options: Any) -> FrozenEncoder:
    """Return the encoder of that name, made with its own options.

    Raises:
        ConfigError: there is no such encoder, or it has no such option.
        MissingAssetError: the encoder's weights or package are not installed.
    """
    factory = ENCODERS.load(name)
    try:
        inspect.signature(factory).bind(**options)
    except TypeError as error:
        known = ", ".join(inspect.signature(factory).parameters) or "none"
        raise ConfigError(f"encoder {name}: {error}; its options are: {known}") from error
    encoder: FrozenEncoder = factory(**options)
    return encoder
