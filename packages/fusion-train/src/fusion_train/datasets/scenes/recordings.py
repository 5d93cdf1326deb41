"""A bank of real recordings: a folder with ``manifest.csv``.

Columns: ``path`` and ``sound_class``; optional ``recording`` (the original that a file was cut from; by default the path),
``split``, ``licence``, ``author``, ``title``, ``source``. Rows without a class are left out, and so are files that do not
decode.

Splits: no recording is in two. The bank's own splits stand, but a class shall have 15% of its recordings in test and 10% in
val, one at least (in val: of four or more). Where the bank gives a split fewer, recordings move there: first those without a
split, then, for test, those of val, then those of train, which keeps one at least (two, where val asks). Which ones move, a
hash of their names decides; a recording that several classes share stays where it is.
"""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import get_args

from fusion_core.errors import DataError
from fusion_core.files import sha256_file
from fusion_train.datasets.scenes.options import Split

MANIFEST = "manifest.csv"
TEST_SHARE, VAL_SHARE = 0.15, 0.1
VAL_FROM = 4
"""A class with fewer recordings has none in val."""


@dataclass(frozen=True)
class Recording:
    """One file of a bank and where it comes from."""

    path: str
    sound_class: str
    recording: str
    split: Split | None
    licence: str
    author: str
    title: str
    source: str

    @property
    def credit(self) -> dict[str, str]:
        """What must be said where the recording is used."""
        return {
            "path": self.path,
            "recording": self.recording,
            "author": self.author,
            "title": self.title,
            "source": self.source,
            "licence": self.licence,
        }


def bank_sha256(folder: Path) -> str:
    """Return the hash of a bank's list.

    Raises:
        DataError: the folder has no ``manifest.csv``.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise DataError(f"{path} does not exist; give a folder of labelled recordings with {MANIFEST} as --bank.")
    return sha256_file(path)


def read_bank(folder: Path) -> list[Recording]:
    """Read the list of a bank.

    Raises:
        DataError: the list is absent or malformed, or a path leaves the folder; names the file and the line.
    """
    bank_sha256(folder)
    path = folder / MANIFEST
    recordings = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            if not {"path", "sound_class"} <= set(reader.fieldnames or ()):
                raise DataError(f"{path} needs the columns path and sound_class; it has {reader.fieldnames}.")
            for row in reader:
                if (row["sound_class"] or "").strip():
                    recordings.append(_recording(row, f"{path}, line {reader.line_num}"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a CSV file in UTF-8 ({error}); save it as one.") from error
    return recordings


def assign_splits(recordings: Iterable[Recording], minimum: int) -> dict[str, dict[str, Split]]:
    """Return, for each class that can be used, the split of each of its recordings.

    ``minimum``: how many recordings a class needs.

    Raises:
        DataError: the bank itself puts one recording into two splits.
    """
    recordings = list(recordings)
    splits = _bank_splits(recordings)
    groups: dict[str, list[str]] = {}
    for item in recordings:
        names = groups.setdefault(item.sound_class, [])
        if item.recording not in names:
            names.append(item.recording)
    shared = {name for name, count in Counter(name for names in groups.values() for name in names).items() if count > 1}
    usable: dict[str, dict[str, Split]] = {}
    for sound_class in sorted(groups):
        names = sorted(groups[sound_class], key=lambda name: hashlib.sha256(name.encode()).digest())
        if len(names) < minimum:
            continue
        _fill(names, splits, shared)
        found = {splits[name] for name in names}
        if {"train", "test"} <= found:
            usable[sound_class] = {name: splits[name] or "train" for name in names}
    return usable


def _recording(row: Mapping[str, str | None], where: str) -> Recording:
    value = {name: (text or "").strip() for name, text in row.items() if name}
    path = value["path"]
    if (
        not path
        or PurePosixPath(path).is_absolute()
        or PureWindowsPath(path).anchor
        or ".." in PurePosixPath(path).parts
    ):
        raise DataError(f"{where}: the path '{path}' leaves the bank; use one inside it without '..'.")
    split = value.get("split") or None
    if split is not None and split not in get_args(Split):
        raise DataError(
            f"{where}: split '{split}' is none of {', '.join(get_args(Split))}; correct it or leave it empty."
        )
    rest = {name: value.get(name, "") for name in ("author", "title", "source")}
    licence = value.get("licence") or "unknown"
    return Recording(path, value["sound_class"], value.get("recording") or path, split, licence, **rest)  # type: ignore[arg-type]


def _bank_splits(recordings: Iterable[Recording]) -> dict[str, Split | None]:
    """Return the split that the bank gives each recording, None where it gives none."""
    splits: dict[str, Split | None] = {}
    for item in recordings:
        before = splits.get(item.recording)
        if before and item.split and before != item.split:
            raise DataError(
                f"{MANIFEST}: recording '{item.recording}' is in {before} and {item.split}; keep it in one split."
            )
        splits[item.recording] = before or item.split
    return splits


def _fill(names: list[str], splits: dict[str, Split | None], shared: set[str]) -> None:
    """Give test and val of one class their shares, and what is left without a split to train."""
    val = max(1, int(VAL_SHARE * len(names))) if len(names) >= VAL_FROM else 0
    _top_up("test", max(1, int(TEST_SHARE * len(names))), (None, "val", "train"), names, splits, shared)
    _top_up("val", val, (None, "train"), names, splits, shared)
    for name in names:
        splits[name] = splits[name] or "train"


def _top_up(
    split: Split,
    wanted: int,
    donors: tuple[Split | None, ...],
    names: list[str],
    splits: dict[str, Split | None],
    shared: set[str],
) -> None:
    """Move recordings of one class into a split until it has as many as wanted, or nobody can give any more."""
    missing = wanted - sum(splits[name] == split for name in names)
    for donor in donors:
        for name in (name for name in names if splits[name] == donor and name not in shared):
            kept = sum(splits[other] in ("train", None) for other in names)
            if missing > 0 and (donor == "val" or kept > (1 if split == "test" else 2)):
                splits[name] = split
                missing -= 1
