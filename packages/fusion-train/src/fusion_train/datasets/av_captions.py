"""One's own folder of videos with captions: AudioCaps-like tables, the videos in place of the audio.

The tables are those of ``folder`` (``captions.csv`` or ``metadata.jsonl``: path or file_name, caption[, split]); AudioCaps' own
table becomes one by naming each row's file. A video without a sound track stays: it is seen and not heard.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fusion_core.errors import DataError
from fusion_encoders.video import VIDEO_SUFFIXES
from fusion_eval.schemas import ManifestRow
from pydantic import BaseModel, ConfigDict, Field

from fusion_train.datasets.audio_files import files_with
from fusion_train.datasets.base import CARD, VIDEO, DatasetContent, PreparedDataset, open_dataset, write_dataset
from fusion_train.datasets.folder import FolderOptions, caption_files, link_audio, read_captions, references_of
from fusion_train.datasets.inspection import inspect_files


class AvCaptionsOptions(BaseModel):
    """Where the videos and their captions lie."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    video_dir: Path | None = Field(default=None, description="Folder of videos; without it the root itself.")
    csv_dir: Path | None = Field(
        default=None, description="Folder of the table of captions, or that file; else the folder of videos."
    )
    split: str = Field(default="test", min_length=1, description="Split of clips for which the table names none.")


class AvCaptionsRecipe:
    """Prepares a folder of captioned videos."""

    name = "av-captions"
    options_type = AvCaptionsOptions

    def identity(self, options: AvCaptionsOptions) -> dict[str, Any]:
        """Return what the content depends on: the files alone, which each preparation looks at anew."""
        return {"corpus": self.name}

    def prepare(self, root: Path, options: AvCaptionsOptions) -> PreparedDataset:
        """Decode frames of every video and write the manifest and the captions.

        Where no place is given and the captions lie prepared, they are opened.

        Raises:
            DataError: the folder is missing, there is no table of captions, a table is malformed, or a path leaves the folder.
            ConfigError: ``root`` is in use by something else.
        """
        if options.video_dir is None and options.csv_dir is None and (root / CARD).is_file():
            return open_dataset(root)
        video_dir = options.video_dir or root
        if not video_dir.is_dir():
            raise DataError(f"The folder of videos {video_dir} does not exist; give an existing one with --video-dir.")
        tables = caption_files(FolderOptions(csv_dir=options.csv_dir, split=options.split), video_dir)
        clips = read_captions(tables)
        if not clips:
            there = len(files_with(video_dir, VIDEO_SUFFIXES))
            raise DataError(
                f"No table of captions in {options.csv_dir or video_dir} ({there} videos there); give captions.csv with path and "
                "caption by --csv-dir."
            )
        prefix = link_audio(root, video_dir, VIDEO)
        found = inspect_files(video_dir, [clip.path for clip in clips], root)
        rows = [
            ManifestRow(id=clip.path, path=prefix + clip.path, split=clip.split, **inspection.row())
            for clip, inspection in zip(clips, found, strict=True)
        ]
        return write_dataset(root, DatasetContent(self, options, rows, references_of(clips, self.name)))
