"""A lazy registry: a name stands for ``module:attribute``, imported when it is asked for."""

from __future__ import annotations

import difflib
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from fusion_core.errors import ConfigError, MissingAssetError


class LazyRegistry:
    """Names of one kind (systems, encoders, …) and where each is defined.

    Args:
        kind: what an entry is called in messages, such as ``"system"``.
        group: the entry-point group by which another package adds entries, such as ``"fusion.systems"``.
        builtin: name -> ``"module:attribute"``.
        unlisted: the same, of what is loaded by name and never offered: it is made of the others.
    """

    def __init__(self, kind: str, group: str, builtin: dict[str, str], unlisted: dict[str, str] | None = None) -> None:
        self.kind = kind
        self.group = group
        self._builtin = builtin
        self._unlisted = unlisted or {}

    def names(self) -> list[str]:
        """Return every name, those of other packages included, sorted."""
        return sorted({*self._builtin, *(point.name for point in entry_points(group=self.group))})

    def load(self, name: str) -> Any:
        """Import and return what the name stands for.

        Raises:
            ConfigError: no such name; the message suggests the nearest.
            MissingAssetError: another package's entry does not import.
        """
        if place := self._builtin.get(name) or self._unlisted.get(name):
            module, _, attribute = place.partition(":")
            return getattr(import_module(module), attribute)
        for point in entry_points(group=self.group, name=name):
            return self._load(point)
        near = difflib.get_close_matches(name, self.names(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(self.names())}."
        raise ConfigError(f"There is no {self.kind} {name!r}: {hint}")

    def _load(self, point: EntryPoint) -> Any:
        try:
            return point.load()
        except (ImportError, AttributeError) as error:
            sentence = f"The {self.kind} {point.name} stands for {point.value}, which does not import ({error})"
            raise MissingAssetError(f"{sentence}; install or repair that package.") from error
