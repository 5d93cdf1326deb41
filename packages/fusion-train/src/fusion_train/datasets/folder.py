"""One's own audio folder as a dataset, with captions from a CSV or JSON-lines file or without any.

The audio stays where it is: the dataset's root is the folder itself, or another folder with a link to it. Every file is
decoded once; what cannot be used stays in the manifest with a status and a reason, and the rest goes on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from fusion_core.errors import ConfigError, DataError
from fusion_eval.schemas import ManifestRow, ReferenceItem, References
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fusion_train.datasets.audio_files import SPLIT_FOLDERS, SUFFIXES, audio_files
from fusion_train.datasets.base import AUDIO, DatasetContent, PreparedDataset, write_dataset
from fusion_train.datasets.captions_csv import Row, Table, read_table
from fusion_train.datasets.inspection import inspect_files

CAPTIONS = ("captions.csv", "captions.jsonl")
METADATA = ("metadata.csv", "metadata.jsonl")
"""The tables of the audio folders of the library datasets, one for all or one in each split's folder."""


class FolderOptions(BaseModel):
    """Where the audio and its captions lie."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    audio_dir: Path | None = Field(default=None, description="Folder of audio files; without it the root itself.")
    csv_dir: Path | None = Field(
        default=None,
        description="Folder with captions.csv, captions.jsonl, metadata.csv or metadata.jsonl (path or file_name, "
        "caption[, split]), or that file; else the audio folder, or each of its split folders.",
    )
    split: str = Field(default="test", min_length=1, description="Split of clips for which the table names none.")


@dataclass(frozen=True)
class Clip:
    """A file that shall become a row: its path in the audio folder, its split, its captions."""

    path: str
    split: str
    captions: tuple[str, ...] = ()


@dataclass(frozen=True)
class CaptionFile:
    """A table of captions: the folder that its paths start from (in the audio folder), and its clips' split.

    ``by_folder``: a clip in a folder that is called like a split is in that split.
    """

    path: Path
    folder: str
    split: str
    by_folder: bool = False


class FolderRecipe:
    """Prepares a folder of audio files."""

    name = "folder"
    options_type = FolderOptions

    def identity(self, options: FolderOptions) -> dict[str, Any]:
        """Return the resolved places; what lies there is looked at anew by each preparation."""
        places = {"audio_dir": options.audio_dir, "csv_dir": options.csv_dir}
        return {name: place and str(place.resolve()) for name, place in places.items()} | {"split": options.split}

    def prepare(self, root: Path, options: FolderOptions) -> PreparedDataset:
        """Inspect every file and write the manifest and the captions.

        Raises:
            DataError: the audio folder is missing or without audio, a table is malformed, or a path leaves the folder.
            ConfigError: ``root`` is in use by something else.
        """
        audio_dir = options.audio_dir or root
        paths = audio_files(audio_dir)
        files = caption_files(options, audio_dir)
        clips = read_captions(files) if files else [Clip(path, options.split) for path in paths]
        if not clips:
            named = files[0].path if files else audio_dir
            raise DataError(f"{named} names no audio file; supported are {', '.join(sorted(SUFFIXES))}.")
        prefix = link_audio(root, audio_dir)
        found = inspect_files(audio_dir, [clip.path for clip in clips], root)
        rows = [
            ManifestRow(id=clip.path, path=prefix + clip.path, split=clip.split, **inspection.row())
            for clip, inspection in zip(clips, found, strict=True)
        ]
        return write_dataset(root, DatasetContent(self, options, rows, references_of(clips, self.name)))


def read_captions(files: Iterable[CaptionFile]) -> list[Clip]:
    """Read tables of ``path,caption[,split]``; several rows with one path are several captions of one clip.

    Raises:
        DataError: a file cannot be read, lacks a column, or a row is malformed; names the file and the line.
    """
    clips: dict[str, Clip] = {}
    for file in files:
        table = read_table(file.path)
        column = "file_name" if "file_name" in table.columns else "path"
        if column not in table.columns or not table.caption_columns:
            raise DataError(f"{file.path} needs the columns path and caption; it has {list(table.columns)}.")
        for row in table.rows:
            _add_captions(clips, table, row, column, file)
    return list(clips.values())


def link_audio(root: Path, audio_dir: Path, name: str = AUDIO) -> str:
    """Make ``<root>/audio`` point to the folder of media; return the prefix of paths in the manifest.

    Raises:
        ConfigError: ``<root>/audio`` is something else.
    """
    if root.resolve() == audio_dir.resolve():
        return ""
    root.mkdir(parents=True, exist_ok=True)
    link = root / name
    if not link.exists() and not link.is_symlink():
        link.symlink_to(audio_dir.resolve(), target_is_directory=True)
    if link.resolve() != audio_dir.resolve():
        raise ConfigError(f"{link} belongs to another dataset; give another folder with --root.")
    return f"{name}/"


def caption_files(options: FolderOptions, audio_dir: Path) -> list[CaptionFile]:
    """Return the tables: the one that was given, or those of the audio folder, or those of its split folders."""
    given = options.csv_dir
    if given is not None and not given.is_dir():
        if not given.is_file():
            raise DataError(f"{given} does not exist; give the folder of {CAPTIONS[0]}, or that file, with --csv-dir.")
        return [CaptionFile(given, "", options.split, given.name in METADATA)]
    for name in (*CAPTIONS, *METADATA):
        path = (given or audio_dir) / name
        if path.is_file():
            return [CaptionFile(path, "", options.split, name in METADATA)]
    if given is not None:
        raise DataError(f"{given} holds no {CAPTIONS[0]}; give the folder of one, or a file, with --csv-dir.")
    found = [(path, path.parent.name) for name in METADATA for path in sorted(audio_dir.glob(f"*/{name}"))]
    return [CaptionFile(path, folder, _split_of(folder) or folder) for path, folder in found]


def _split_of(folder: str) -> str | None:
    """Return the split that a folder's name says, or None."""
    return next((split for split, names in SPLIT_FOLDERS.items() if folder.casefold() in names), None)


def _add_captions(clips: dict[str, Clip], table: Table, row: Row, column: str, file: CaptionFile) -> None:
    where, name = f"{file.path}, line {row.line}", row.text(column)
    if not name:
        raise DataError(f"{where}: the field {column} is empty; name an audio file.")
    try:
        ManifestRow(id=name, path=name, split=file.split, status="ok")
    except ValidationError as error:
        raise DataError(
            f"{where}: the path '{name}' leaves the audio folder; use one inside it without '..'."
        ) from error
    inside = PurePosixPath(file.folder, name.replace("\\", "/"))
    split = row.text("split") or (file.by_folder and _split_of(inside.parts[0])) or file.split
    path = inside.as_posix()
    clip = clips.setdefault(path, Clip(path, split))
    if clip.split != split:
        raise DataError(f"{where}: '{name}' is in split '{split}' here and in '{clip.split}' above; choose one.")
    clips[path] = Clip(path, split, (*clip.captions, *table.captions(row)))


def references_of(clips: Iterable[Clip], dataset: str) -> list[References]:
    """Return the captions by split; a clip whose audio cannot be used keeps them, so that the denominator stays."""
    items: dict[str, list[ReferenceItem]] = {}
    for clip in clips:
        if clip.captions:
            items.setdefault(clip.split, []).append(ReferenceItem(id=clip.path, references=clip.captions))
    return [References(dataset=dataset, split=split, items=tuple(found)) for split, found in items.items()]
