"""Folders in the shape of a model hub: a folder on this machine, or a repository that is in the hub's cache already."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fusion_core.errors import MissingAssetError


def local_folder(source: Path | str, files: Sequence[str]) -> Path:
    """Return the folder of an adapter; nothing is downloaded.

    Args:
        source: a folder, or ``owner/name`` of a repository.
        files: what a repository must hold.

    Raises:
        MissingAssetError: ``source`` is no folder, and no repository of that name is in the hub's cache.
    """
    folder = Path(source)
    if isinstance(source, Path) or folder.exists() or source.count("/") != 1:
        return folder
    from transformers.utils import cached_file

    try:
        found = [cached_file(source, file, local_files_only=True) for file in files]
    except OSError:
        raise MissingAssetError(
            f"There is no folder {source!r} and no such repository in the hub's cache; fetch it with: hf download {source}"
        ) from None
    return Path(str(found[0])).parent
