"""The dataset ``scenes``: who may make it where, and whether it is there already. ``make.py`` does the work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fusion_train.datasets.base import AUDIO, MANIFEST, PreparedDataset
from fusion_train.datasets.making import make_once
from fusion_train.datasets.scenes.options import ScenesOptions
from fusion_train.datasets.scenes.recordings import bank_sha256

VERSION = 1
"""Counts up whenever the same options give other bytes."""


class ScenesRecipe:
    """Prepares composed scenes, from synthesised sounds or from a bank of recordings."""

    name = "scenes"
    options_type = ScenesOptions

    def identity(self, options: ScenesOptions) -> dict[str, Any]:
        """Return the options with the bank's hash in place of its path, and the version of the recipe.

        Raises:
            DataError: the bank has no list.
        """
        content = options.model_dump(mode="json", exclude={"workers"})
        bank = None if options.bank is None else bank_sha256(options.bank)
        return content | {"bank": bank, "version": VERSION}

    def prepare(self, root: Path, options: ScenesOptions) -> PreparedDataset:
        """Make the scenes in ``root``; those that lie there finished are returned at once, what was cut off goes on.

        Raises:
            ConfigError: ``root`` holds something made with other options.
            DataError: the bank is malformed or too small.
        """

        def make() -> PreparedDataset:
            from fusion_train.datasets.scenes.make import make

            return make(self, root, options)

        clips = options.train + options.val + options.test
        return make_once(self.name, root, self.identity(options), lambda: _is_whole(root, clips), make)


def _is_whole(root: Path, clips: int) -> bool:
    """Say whether the manifest and all clips lie in a folder."""
    return (root / MANIFEST).is_file() and sum(1 for _ in (root / AUDIO).glob("*/*.flac")) == clips
