"""AudioCaps: ten-second clips of AudioSet with captions written by people, one in train, five in val and test.

Kim, Kim, Lee and Kim, «AudioCaps: Generating Captions for Audios in The Wild», NAACL 2019. Release 1.0 and 2.0 have one
layout (audiocap_id, youtube_id, start_time, caption; a row a caption) and different captions, in test too; tables with a
row a clip (file_name, caption_1, …) are read as well.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal

from fusion_core.errors import DataError
from fusion_eval.clip_lists import published_lists
from pydantic import Field

from fusion_train.datasets.captions_csv import Row, Table, read_table
from fusion_train.datasets.corpus import Corpus, CorpusClip, CorpusOptions, CorpusRecipe, with_unique_ids
from fusion_train.datasets.overlap import VIDEO_FILE

TestList = Literal["official-975", "common-957", "conette-912"]
_VIDEO = re.compile(r"[A-Za-z0-9_-]{11}")
_CLIP_SECONDS = 10


class AudioCapsOptions(CorpusOptions):
    """The options of the dataset ``audiocaps``."""

    test_list: TestList | None = Field(
        default=None, description="Use only the test clips of a published list, such as common-957."
    )


@dataclass(frozen=True)
class _Caption:
    """A row of a table: the video, the second of it at which the clip starts, its captions, other names of its file."""

    video: str
    start: str
    captions: tuple[str, ...]
    names: tuple[str, ...]


class AudioCapsRecipe(CorpusRecipe[AudioCapsOptions]):
    """Prepares AudioCaps, whichever release, from whatever folder of files one has."""

    name = "audiocaps"
    title = "AudioCaps"
    options_type = AudioCapsOptions
    tables = ("{split}.csv", "audiocaps_{split}.csv", "{split}/metadata.csv", "{split}/metadata.jsonl", "{split}.jsonl")
    source = "train.csv, val.csv and test.csv from github.com/cdjkim/audiocaps"
    usual_seconds = (9.5, 10.5)
    known: ClassVar[Mapping[str, str]] = {
        "b15a14216672d653ba519d5b7a1cece7c2896bc01984b0aa1a1fc2a2b512e6fd": "AudioCaps 1.0 train",
        "43df47616eb754c99c08e7d680ae3cc69d3751a7201f7f633e92886f454fb1bc": "AudioCaps 1.0 val",
        "f5ea8ad5e3884239097b7e1bd000d8f465cd7147ebaa80e29d92e4788b07b7b4": "AudioCaps 1.0 test",
        "fe8e17a24021b54ee6ce56fbce85056de4640dd09eeda59c82e0b21afdd29c2c": "AudioCaps 1.0 test, the common 957",
        "d3a2771a4bd896247b1c3f25e531f20994275a7a560ca173def1e7a3eaad745e": "AudioCaps 1.0 test, CoNeTTE's 912",
        "c73cce944f80685b0f78a83676b3b74456bec68c9779fc0b869092573ae16843": "AudioCaps 2.0 val",
        "7efc25b31006e0b0c85818b6870f407968a7b7732da15f0c79d4eb53cca32b03": "AudioCaps 2.0 test",
    }

    def chosen_list(self, options: AudioCapsOptions) -> str | None:
        """Return the published list of clips that the test split is cut to; None is the whole split."""
        return options.test_list

    def read(self, tables: Mapping[str, Path]) -> Corpus:
        """Read the tables of the splits; captions that a line break cut in two are joined.

        Raises:
            DataError: a table is malformed; names the file and the line.
        """
        clips: list[CorpusClip] = []
        quirks: list[str] = []
        for split, path in tables.items():
            table = read_table(path, mend_breaks=True)
            clips += _clips(_captions(table), split)
            quirks += table.mended
        unique, renamed = with_unique_ids(clips)
        return Corpus(
            unique, published_lists([clip.id for clip in unique if clip.split == "test"]), [*quirks, *renamed]
        )


def _captions(table: Table) -> list[_Caption]:
    if "youtube_id" in table.columns:
        return [_published_row(table, row) for row in table.rows]
    table.require("file_name")
    return [_file_row(table, row) for row in table.rows]


def _published_row(table: Table, row: Row) -> _Caption:
    video = row.text("youtube_id")
    if not _VIDEO.fullmatch(video):
        raise DataError(
            f"{table.path}, line {row.line}: youtube_id '{video}' is no id of 11 letters, digits, '-' and '_' "
            "(spreadsheets spoil ids that begin with '-'); take the table as it is published."
        )
    names = tuple(PurePosixPath(name).stem for name in (row.text("file_name"), row.text("audiocap_id")) if name)
    return _Caption(video, row.text("start_time"), _captions_of(table, row), names)


def _file_row(table: Table, row: Row) -> _Caption:
    stem = PurePosixPath(row.text("file_name").replace("\\", "/")).stem
    match = VIDEO_FILE.fullmatch(stem)
    if not match:
        raise DataError(
            f"{table.path}, line {row.line}: file_name '{row.text('file_name')}' is not named after a video, such as "
            "Y7fmOlUlwoNg.wav; prepare it as the dataset folder."
        )
    return _Caption(match["video"], match["start"] or "", _captions_of(table, row), (stem,))


def _captions_of(table: Table, row: Row) -> tuple[str, ...]:
    captions = table.captions(row)
    if not captions:
        raise DataError(f"{table.path}, line {row.line}: the caption is empty; remove the row or write one.")
    return captions


def _clips(captions: Sequence[_Caption], split: str) -> list[CorpusClip]:
    """Group the captions by clip, in the order of the table.

    The id is the video's, and where clips start at several places of a video has the second of the start too.
    """
    grouped: dict[tuple[str, str], list[_Caption]] = defaultdict(list)
    for caption in captions:
        grouped[caption.video, caption.start].append(caption)
    starts: dict[str, int] = defaultdict(int)
    for video, _ in grouped:
        starts[video] += 1
    clips = []
    for (video, start), rows in grouped.items():
        texts = tuple(text for row in rows for text in row.captions)
        names = _file_names(video, start, starts[video] == 1, [name for row in rows for name in row.names])
        identity = video if starts[video] == 1 else f"{video}_{start}"
        clips.append(CorpusClip(identity, split, texts, names, source=f"youtube:{video}"))
    return clips


def _file_names(video: str, start: str, only_clip: bool, others: Sequence[str]) -> tuple[str, ...]:
    """Return the stems by which downloaders know a clip: with its start (s or ms) and end, the id alone, its row's number."""
    timed = []
    if start:
        timed.append(start)
        try:
            second = float(start)
        except ValueError:
            second = None
        if second is not None:
            end = second + _CLIP_SECONDS
            timed += [f"{second:g}", f"{second:g}_{end:g}", f"{second:.0f}.000", f"{second:.3f}_{end:.3f}"]
            timed += [f"{second * 1000:.0f}", f"{second * 1000:.0f}_{end * 1000:.0f}"]
    stems = [f"{prefix}{video}_{time}" for time in dict.fromkeys(timed) for prefix in ("", "Y")]
    if only_clip:
        stems += [video, f"Y{video}"]
    return tuple(dict.fromkeys([*stems, *others]))
