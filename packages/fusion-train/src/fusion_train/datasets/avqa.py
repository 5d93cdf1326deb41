"""Questions about videos in the layout of MUSIC-AVQA (Li et al., CVPR 2022): one JSON list a split, and a folder of videos.

Each entry has ``video_id``, ``question_id``, ``type`` (such as ``["Audio-Visual", "Counting"]``), ``question_content`` with
places such as ``<Object>``, ``templ_values`` that fill them, and ``anser`` (so spelt there). The options of a question are the
answers that train gives to questions of its type; an answer that is not among them is added, so that no question is lost.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from fusion_core.errors import DataError
from fusion_encoders.video import VIDEO_SUFFIXES
from fusion_eval.schemas import ManifestRow
from fusion_eval.schemas.questions import QuestionItem, Questions
from pydantic import BaseModel, ConfigDict, Field

from fusion_train.datasets.audio_files import files_with
from fusion_train.datasets.base import CARD, VIDEO, DatasetContent, PreparedDataset, open_dataset, write_dataset
from fusion_train.datasets.folder import link_audio
from fusion_train.datasets.inspection import MISSING, inspect_files

FILES = {"train": "avqa-train.json", "val": "avqa-val.json", "test": "avqa-test.json"}
KINDS = {"audio": "sound", "visual": "sight", "audio-visual": "both"}
_PLACE = re.compile(r"<[^<>]+>")


class AvqaOptions(BaseModel):
    """Where the videos and the lists of questions lie."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    video_dir: Path | None = Field(default=None, description="Folder of videos, called VIDEO_ID.mp4, at any depth.")
    source: Path | None = Field(default=None, description=f"Folder with {', '.join(FILES.values())}.")


@dataclass(frozen=True)
class Entry:
    """One question as the list has it, its places filled in."""

    id: str
    video: str
    kind: str
    category: str
    text: str
    answer: str


class AvqaRecipe:
    """Prepares questions in MUSIC-AVQA's layout."""

    name = "avqa"
    options_type = AvqaOptions

    def identity(self, options: AvqaOptions) -> dict[str, Any]:
        """Return what the content depends on: the files alone, which each preparation looks at anew."""
        return {"corpus": self.name}

    def prepare(self, root: Path, options: AvqaOptions) -> PreparedDataset:
        """Read the lists, decode frames of every video and write the manifest and the questions.

        Where no place is given and the questions lie prepared, they are opened.

        Raises:
            DataError: a folder or list is missing, or an entry is malformed; names the list and the entry.
            ConfigError: ``root`` is in use by something else.
        """
        source, video_dir = options.source, options.video_dir
        if source is None or video_dir is None:
            if (root / CARD).is_file():
                return open_dataset(root)
            raise DataError(
                f"{root} is not prepared yet: fusion data prepare {self.name} --video-dir DIR --source DIR."
            )
        entries = {split: read_entries(source / name) for split, name in FILES.items()}
        if not video_dir.is_dir():
            raise DataError(f"The folder of videos {video_dir} does not exist; give an existing one with --video-dir.")
        prefix = link_audio(root, video_dir, VIDEO)
        rows = _rows(root, video_dir, entries, prefix)
        known = known_answers(entries["train"])
        questions = [
            Questions(dataset=self.name, split=split, items=tuple(_question(split, entry, known) for entry in found))
            for split, found in entries.items()
        ]
        videos = {split: {entry.video for entry in found} for split, found in entries.items()}
        statistics = {
            "questions": {file.split: dict(Counter(item.kind for item in file.items)) for file in questions},
            "commonest_answer": {file.split: file.commonest_answer() for file in questions},
            "test_videos_in_train": len(videos["test"] & videos["train"]),
        }
        return write_dataset(root, DatasetContent(self, options, rows, questions=questions, statistics=statistics))


def read_entries(path: Path) -> list[Entry]:
    """Read one list of questions; those that the authors marked as deleted are left out.

    Raises:
        DataError: the file is missing or malformed; names it and the entry.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(
            f"{path} does not exist; give the folder of {', '.join(FILES.values())} with --source."
        ) from None
    except ValueError as error:
        raise DataError(f"{path} is no JSON file ({error}).") from None
    if not isinstance(content, list) or not content:
        raise DataError(f"{path} must be a list of questions.")
    found = []
    for place, item in enumerate(content):
        try:
            if not item.get("question_deleted"):
                found.append(_entry(item))
        except (AttributeError, KeyError, ValueError, TypeError) as error:
            raise DataError(f"{path}, entry {place}: {error or 'malformed'}; see MUSIC-AVQA's layout.") from None
    return found


def fill_places(text: str, values: Sequence[str]) -> str:
    """Put values into the places of a question, such as «<Object>», in their order.

    Raises:
        ValueError: there are not as many values as places.
    """
    places = _PLACE.findall(text)
    if len(places) != len(values):
        raise ValueError(f"question_content has {len(places)} places and templ_values {len(values)} values")
    for place, value in zip(places, values, strict=True):
        text = text.replace(place, value, 1)
    return text


def known_answers(entries: Sequence[Entry]) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return the answers that questions of a type have, the commonest first."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for entry in entries:
        counts.setdefault((entry.kind, entry.category), Counter())[entry.answer] += 1
    return {
        kind: tuple(answer for answer, _ in sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))
        for kind, found in counts.items()
    }


def _entry(item: dict[str, Any]) -> Entry:
    kind, category = (str(part) for part in _list(item["type"]))
    answer = item["anser"] if "anser" in item else item["answer"]
    text = fill_places(str(item["question_content"]), [str(value) for value in _list(item["templ_values"])])
    if kind.lower() not in KINDS:
        raise ValueError(f"type {kind!r} is none of {', '.join(KINDS)}")
    return Entry(
        str(item["question_id"]), str(item["video_id"]), KINDS[kind.lower()], category.lower(), text, str(answer)
    )


def _list(value: Any) -> list[Any]:
    """Return a list that may be written as text, as the authors' files have it."""
    found = json.loads(value) if isinstance(value, str) else value
    if not isinstance(found, list):
        raise ValueError(f"{value!r} is no list")
    return found


def _rows(root: Path, video_dir: Path, entries: dict[str, list[Entry]], prefix: str) -> list[ManifestRow]:
    """Return one row a video and split; a video that is not there is missing."""
    paths = {PurePosixPath(path).stem: path for path in reversed(files_with(video_dir, VIDEO_SUFFIXES))}
    wanted = [(split, video) for split, found in entries.items() for video in sorted({entry.video for entry in found})]
    there = [(split, video) for split, video in wanted if video in paths]
    inspected = inspect_files(video_dir, [paths[video] for _, video in there], root)
    found = dict(zip(there, inspected, strict=True))
    return [
        ManifestRow(
            id=clip_id(split, video),
            path=prefix + paths.get(video, f"{video}.mp4"),
            split=split,
            **found.get((split, video), MISSING).row(),
        )
        for split, video in wanted
    ]


def clip_id(split: str, video: str) -> str:
    """Return the id of a video in a split: one may be in several."""
    return f"{split}-{video}"


def _question(split: str, entry: Entry, known: dict[tuple[str, str], tuple[str, ...]]) -> QuestionItem:
    options = known.get((entry.kind, entry.category), ())
    options = options if entry.answer in options else (*options, entry.answer)
    return QuestionItem(
        id=f"{split}-{entry.id}",
        clip=clip_id(split, entry.video),
        kind=entry.kind,
        category=entry.category,
        text=entry.text,
        answer=entry.answer,
        options=options if len(options) > 1 else (*options, "yes" if entry.answer != "yes" else "no"),
    )
