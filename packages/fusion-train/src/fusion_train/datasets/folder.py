"""One's own audio folder as a dataset, with captions from a CSV file or without any.

The audio stays where it is: the dataset's root is the folder itself, or another folder with a link to it. Every file is
decoded once; what cannot be used stays in the manifest with a status and a reason, and the rest goes on.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from fusion_core.errors import ConfigError, DataError
from fusion_core.files import sha256_file
from fusion_core.progress import track
from fusion_encoders.audio import AudioFault, load_audio, probe_audio
from fusion_eval.schemas import ManifestRow, ReferenceItem, References
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fusion_train.datasets.base import AUDIO, DatasetContent, PreparedDataset, write_dataset

CAPTIONS = "captions.csv"
SUFFIXES = frozenset({".aac", ".aif", ".aiff", ".au", ".caf", ".flac", ".m4a", ".mp3", ".oga", ".ogg", ".opus", ".wav"})
"""Files with these endings are taken for audio where no CSV file lists them."""


class FolderOptions(BaseModel):
    """Where the audio and its captions lie."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    audio_dir: Path | None = Field(default=None, description="Folder of audio files; without it the root itself.")
    csv_dir: Path | None = Field(
        default=None, description=f"Folder with {CAPTIONS} (path,caption[,split]), or that file; else the audio folder."
    )
    split: str = Field(default="test", min_length=1, description="Split of clips for which the CSV file names none.")


@dataclass(frozen=True)
class Clip:
    """A file that shall become a row: its path in the audio folder, its split, its captions."""

    path: str
    split: str
    captions: tuple[str, ...] = ()


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
            DataError: the audio folder is missing or without audio, the CSV file is malformed, or a path leaves it.
            ConfigError: ``root`` is in use by something else.
        """
        audio_dir = options.audio_dir or root
        if not audio_dir.is_dir():
            raise DataError(f"The audio folder {audio_dir} does not exist; give an existing one with --audio-dir.")
        captions = _captions_file(options.csv_dir, audio_dir)
        clips = read_captions(captions, options.split) if captions else find_clips(audio_dir, options.split)
        if not clips:
            raise DataError(
                f"{captions or audio_dir} names no audio file; supported are {', '.join(sorted(SUFFIXES))}."
            )
        prefix = _link(root, audio_dir)
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:  # soundfile and hashlib let other threads run
            jobs = pool.map(lambda clip: inspect(audio_dir, clip, prefix), clips)
            rows = list(track(jobs, "inspect", total=len(clips)))
        return write_dataset(root, DatasetContent(self, options, rows, _references(clips)))


def find_clips(audio_dir: Path, split: str) -> list[Clip]:
    """Return every file below a folder that is named like audio, in the order of the paths; links are not followed."""
    found = []
    for folder, _, names in os.walk(audio_dir):
        inside = Path(folder).relative_to(audio_dir)
        found += [(inside / name).as_posix() for name in names if PurePosixPath(name).suffix.lower() in SUFFIXES]
    return [Clip(path, split) for path in sorted(found)]


def read_captions(path: Path, split: str) -> list[Clip]:
    """Read ``path,caption[,split]``; several rows with one path are several captions of one clip.

    Raises:
        DataError: the file cannot be read, lacks a column, or a row is malformed; names the file and the line.
    """
    clips: dict[str, Clip] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            if not {"path", "caption"} <= set(reader.fieldnames or ()):
                raise DataError(f"{path} needs the columns path and caption; it has {reader.fieldnames}.")
            for row in reader:
                _add_caption(clips, row, split, f"{path}, line {reader.line_num}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a CSV file in UTF-8 ({error}); save it as one.") from error
    return list(clips.values())


def inspect(audio_dir: Path, clip: Clip, prefix: str) -> ManifestRow:
    """Decode a file whole and return its row, with the fault where it cannot be used."""
    place = audio_dir / clip.path
    facts: dict[str, Any] = {"id": clip.path, "path": prefix + clip.path, "split": clip.split}
    try:
        if not place.resolve().is_relative_to(audio_dir.resolve()):
            raise AudioFault("missing", "a link that leaves the audio folder is not followed")
        info = probe_audio(place)
        samples = len(load_audio(place, info.sample_rate))
    except AudioFault as fault:
        return ManifestRow(**facts, status=fault.status, reason=fault.reason)
    facts |= {"seconds": samples / info.sample_rate, "sample_rate": info.sample_rate, "sha256": sha256_file(place)}
    return ManifestRow(**facts, status="ok")


def _captions_file(csv_dir: Path | None, audio_dir: Path) -> Path | None:
    if csv_dir is None:
        inside = audio_dir / CAPTIONS
        return inside if inside.is_file() else None
    path = csv_dir / CAPTIONS if csv_dir.is_dir() else csv_dir
    if not path.is_file():
        raise DataError(f"{path} does not exist; give the folder of {CAPTIONS}, or that file, with --csv-dir.")
    return path


def _add_caption(clips: dict[str, Clip], row: dict[str, str | None], split: str, where: str) -> None:
    name, caption = (row.get("path") or "").strip(), (row.get("caption") or "").strip()
    split = (row.get("split") or "").strip() or split
    if not name:
        raise DataError(f"{where}: the field path is empty; name an audio file.")
    try:
        ManifestRow(id=name, path=name, split=split, status="ok")
    except ValidationError as error:
        raise DataError(
            f"{where}: the path '{name}' leaves the audio folder; use one inside it without '..'."
        ) from error
    name = PurePosixPath(name.replace("\\", "/")).as_posix()
    clip = clips.setdefault(name, Clip(name, split))
    if clip.split != split:
        raise DataError(f"{where}: '{name}' is in split '{split}' here and in '{clip.split}' above; choose one.")
    clips[name] = Clip(name, split, (*clip.captions, caption) if caption else clip.captions)


def _link(root: Path, audio_dir: Path) -> str:
    """Make ``<root>/audio`` point to the audio folder; return the prefix of paths in the manifest."""
    if root.resolve() == audio_dir.resolve():
        return ""
    root.mkdir(parents=True, exist_ok=True)
    link = root / AUDIO
    if not link.exists() and not link.is_symlink():
        link.symlink_to(audio_dir.resolve(), target_is_directory=True)
    if link.resolve() != audio_dir.resolve():
        raise ConfigError(f"{link} belongs to another dataset; give another folder with --root.")
    return f"{AUDIO}/"


def _references(clips: Iterable[Clip]) -> list[References]:
    """Return the captions by split; a clip whose audio cannot be used keeps them, so that the denominator stays."""
    items: dict[str, list[ReferenceItem]] = {}
    for clip in clips:
        if clip.captions:
            items.setdefault(clip.split, []).append(ReferenceItem(id=clip.path, references=clip.captions))
    return [References(dataset="folder", split=split, items=tuple(found)) for split, found in items.items()]
