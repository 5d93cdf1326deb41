"""Datasets that are made: once in a folder, by one process at a time; what was cut off goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fusion_core.errors import ConfigError
from fusion_core.files import write_atomic
from fusion_core.locks import waiting_lock

from fusion_train.datasets.base import CARD, DatasetCard, PreparedDataset, json_sha256

_CLAIM = ".preparing.json"
_LOCK = ".lock"


def make_once(
    name: str, root: Path, identity: dict[str, Any], is_whole: Callable[[], bool], make: Callable[[], PreparedDataset]
) -> PreparedDataset:
    """Return the dataset in a folder, made if it is not there; waits while another process makes it.

    Args:
        name: the dataset's name.
        root: its folder.
        identity: all that decides its content.
        is_whole: says whether the files of the finished dataset are all there.
        make: makes it, going on with what lies there.

    Raises:
        ConfigError: the folder holds something made with other options.
    """

    def is_finished() -> bool:
        card = root / CARD
        same = card.is_file() and DatasetCard.read(card).options_sha256 == json_sha256(identity)
        return same and is_whole()

    if is_finished():
        return PreparedDataset(name, root)
    with waiting_lock(root / _LOCK, f"preparing {root}"):
        if is_finished():
            return PreparedDataset(name, root)
        _claim(root, identity)
        dataset = make()
        (root / _CLAIM).unlink(missing_ok=True)
    return dataset


def _claim(root: Path, identity: dict[str, Any]) -> None:
    """Write down what is being made in a folder.

    Raises:
        ConfigError: the folder holds a dataset, finished or not, that is not the one with this identity.
    """
    found: dict[str, Any] = {}
    if (root / CARD).is_file():
        found = DatasetCard.read(root / CARD).options
    elif (root / _CLAIM).is_file():
        found = json.loads((root / _CLAIM).read_text(encoding="utf-8"))
    different = sorted(name for name in identity if found and found.get(name) != identity[name])
    if different:
        listed = ", ".join(
            f"{name} {_short(found.get(name))} there, {_short(identity[name])} here" for name in different
        )
        raise ConfigError(
            f"{root} holds a dataset made with other options ({listed}); give another --root or delete it."
        )
    write_atomic(root / _CLAIM, json.dumps(identity, sort_keys=True, indent=1).encode())


def _short(value: Any) -> str:
    """Return a value as text, a hash by its first digits."""
    return f"{value[:8]}…" if isinstance(value, str) and len(value) == 64 else str(value)
