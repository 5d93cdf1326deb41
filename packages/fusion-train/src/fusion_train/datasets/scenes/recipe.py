"""The dataset ``scenes``: who may make it where, and whether it is there already. ``make.py`` does the work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from fusion_core.errors import ConfigError
from fusion_eval.files import write_atomic
from fusion_train.datasets.base import AUDIO, CARD, MANIFEST, DatasetCard, PreparedDataset, json_sha256
from fusion_train.datasets.scenes.options import ScenesOptions
from fusion_train.datasets.scenes.recordings import bank_sha256

VERSION = 1
"""Counts up whenever the same options give other bytes."""

CLAIM = ".preparing.json"
_LOCK = ".lock"


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
            ConfigError: ``root`` holds something made with other options, or another process is at work in it.
            DataError: the bank is malformed or too small.
        """
        identity = self.identity(options)
        if is_finished(root, identity, options.train + options.val + options.test):
            return PreparedDataset(self.name, root)
        root.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(root / _LOCK, timeout=0):
                claim(root, identity)
                from fusion_train.datasets.scenes.make import make

                dataset = make(self, root, options)
                (root / CLAIM).unlink(missing_ok=True)
        except Timeout as error:
            raise ConfigError(f"Another process prepares {root}; wait for it or give another --root.") from error
        return dataset


def is_finished(root: Path, identity: dict[str, Any], clips: int) -> bool:
    """Say whether the dataset with this identity lies in a folder, with all its clips."""
    if not (root / CARD).is_file() or not (root / MANIFEST).is_file():
        return False
    same = DatasetCard.read(root / CARD).options_sha256 == json_sha256(identity)
    return same and sum(1 for _ in (root / AUDIO).glob("*/*.flac")) == clips


def claim(root: Path, identity: dict[str, Any]) -> None:
    """Write down what is being made in a folder.

    Raises:
        ConfigError: the folder holds a dataset, finished or not, that is not the one with this identity.
    """
    found: dict[str, Any] = {}
    if (root / CARD).is_file():
        found = DatasetCard.read(root / CARD).options
    elif (root / CLAIM).is_file():
        found = json.loads((root / CLAIM).read_text(encoding="utf-8"))
    different = sorted(name for name in identity if found and found.get(name) != identity[name])
    if different:
        listed = ", ".join(
            f"{name} {_short(found.get(name))} there, {_short(identity[name])} here" for name in different
        )
        raise ConfigError(
            f"{root} holds a dataset made with other options ({listed}); give another --root or delete it."
        )
    write_atomic(root / CLAIM, json.dumps(identity, sort_keys=True, indent=1).encode())


def _short(value: Any) -> str:
    """Return a value as text, a hash by its first digits."""
    return f"{value[:8]}…" if isinstance(value, str) and len(value) == 64 else str(value)
