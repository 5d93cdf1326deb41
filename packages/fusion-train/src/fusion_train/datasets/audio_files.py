"""Which files of a folder are audio, and which of them is a clip's.

Published corpora name their clips; people's folders name the files in their own way: with a prefix, with the clip's
start, in folders by split, with characters that a file system or an archive changed.
"""

from __future__ import annotations

import html
import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from fusion_core.errors import DataError

SUFFIXES = frozenset({".aac", ".aif", ".aiff", ".au", ".caf", ".flac", ".m4a", ".mp3", ".oga", ".ogg", ".opus", ".wav"})
"""Files with these endings are taken for audio where no table lists them."""

SPLIT_FOLDERS = {
    "train": ("train", "training", "development", "dev"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "evaluation", "eval"),
}
"""How a folder is called that holds the clips of one split; so are tables of captions."""


class Found(NamedTuple):
    """A file of a clip: its path in the folder, and how many other files the clip could have had."""

    path: str
    others: int


def audio_files(folder: Path) -> list[str]:
    """Return the paths of all files below a folder that are named like audio, sorted; links are not followed.

    Raises:
        DataError: the folder does not exist.
    """
    if not folder.is_dir():
        raise DataError(f"The audio folder {folder} does not exist; give an existing one with --audio-dir.")
    return files_with(folder, SUFFIXES)


def files_with(folder: Path, suffixes: frozenset[str]) -> list[str]:
    """Return the paths of all files below a folder whose names end so, sorted; links are not followed.

    A name that is not in UTF-8 cannot stand in a manifest and is left out.
    """
    found = []
    for place, _, names in os.walk(folder):
        inside = Path(place).relative_to(folder)
        paths = [(inside / name).as_posix() for name in names if PurePosixPath(name).suffix.lower() in suffixes]
        found += [path for path in paths if _is_text(path)]
    return sorted(found)


class AudioIndex:
    """The audio files of a folder by their stems, for clips that are named and not listed by path.

    Raises:
        DataError: the folder does not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.paths = audio_files(folder)
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        for path in self.paths:
            self._by_stem[PurePosixPath(path).stem].append(path)

    def find(self, stems: Iterable[str], split: str, own_folder_only: bool = False) -> Found | None:
        """Return the file of the first stem that one has: in the split's folder before elsewhere.

        Args:
            stems: the names that the file may have, the likeliest first.
            split: the clip's split.
            own_folder_only: leave out files outside the split's folder, as another clip has the same name.
        """
        for stem in stems:
            found = self._choose(self._by_stem.get(stem, []), split, own_folder_only)
            if found:
                return found
        return None

    def find_loosely(self, stem: str, split: str, own_folder_only: bool = False) -> Found | None:
        """Return the one file whose name has the same letters and digits (``loose_name``), if it is the only one."""
        stems = self._by_loose_name.get(loose_name(stem), [])
        return self.find(stems, split, own_folder_only) if len(stems) == 1 else None

    @cached_property
    def _by_loose_name(self) -> dict[str, list[str]]:
        stems: dict[str, list[str]] = defaultdict(list)
        for stem in self._by_stem:
            stems[loose_name(stem)].append(stem)
        return stems

    def _choose(self, paths: Sequence[str], split: str, own_folder_only: bool) -> Found | None:
        ranked = sorted((_distance(path, split), path) for path in paths)
        if not ranked or (own_folder_only and ranked[0][0] > 0):
            return None
        nearest = [path for rank, path in ranked if rank == ranked[0][0]]
        return Found(nearest[0], len(nearest) - 1)


def loose_name(stem: str) -> str:
    """Return the letters and digits of a name, in lower case, HTML's entities resolved and composed (NFKC).

    Archives, file systems and downloads change the rest: spaces, quotes, commas, ``&amp;``, accents in two characters.
    """
    plain = unicodedata.normalize("NFKC", html.unescape(stem)).casefold()
    return "".join(letter for letter in plain if letter.isalnum())


def _distance(path: str, split: str) -> int:
    """Return 0 for a file in its split's folder, 1 outside all of them, 2 in another split's."""
    folders = [folder.casefold() for folder in PurePosixPath(path).parts[:-1]]
    if any(folder in SPLIT_FOLDERS[split] for folder in folders):
        return 0
    return 2 if any(folder in names for names in SPLIT_FOLDERS.values() for folder in folders) else 1


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
