"""Find an encoder by name: the ones of this package, and those that other packages announce as entry points.

An encoder of ours is one file and one line in ``ENCODERS``. Another package adds one with an entry point in the group
``fusion.encoders`` whose name is the encoder's and whose value is ``module:class``.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from fusion_core.errors import ConfigError, MissingAssetError

from fusion_encoders.base import FrozenEncoder

GROUP = "fusion.encoders"

ENCODERS = {
    "aisfx": "fusion_encoders.aisfx:AisfxEncoder",
    "logmel": "fusion_encoders.logmel:LogMelEncoder",
}


def encoder_names() -> list[str]:
    """Return the names of all encoders, those of other packages among them."""
    return sorted({*ENCODERS, *(point.name for point in entry_points(group=GROUP))})


def load_encoder(name: str, **options: Any) -> FrozenEncoder:
    """Return the encoder of that name, made with its own options.

    Raises:
        ConfigError: there is no such encoder, or it has no such option.
        MissingAssetError: the encoder's weights or package are not installed.
    """
    factory = _factory(name)
    try:
        inspect.signature(factory).bind(**options)
    except TypeError as error:
        known = ", ".join(inspect.signature(factory).parameters) or "none"
        raise ConfigError(f"encoder {name}: {error}; its options are: {known}") from error
    encoder: FrozenEncoder = factory(**options)
    return encoder


def _factory(name: str) -> Any:
    if name in ENCODERS:
        module, _, attribute = ENCODERS[name].partition(":")
        return getattr(importlib.import_module(module), attribute)
    point: EntryPoint | None = next(iter(entry_points(group=GROUP, name=name)), None)
    if point is None:
        names = encoder_names()
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are: {', '.join(names)}"
        raise ConfigError(f"there is no encoder {name!r}; {hint}")
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        raise MissingAssetError(f"encoder {name} stands for {point.value}, which does not import: {error}") from error
