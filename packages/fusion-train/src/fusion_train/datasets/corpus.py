"""A published corpus of captioned audio: its tables name the clips, and a folder holds those files that one could get.

What the tables name is the corpus: a clip whose audio is missing or corrupt stays in the manifest and in the references, so
that every system is scored over the same clips. What was found is written to ``report.md`` and ``dataset.json``.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from fusion_core.errors import ConfigError, DataError
from fusion_core.files import write_atomic
from fusion_eval.schemas import ManifestRow, ReferenceItem, References
from pydantic import BaseModel, ConfigDict, Field

from fusion_train.datasets.audio_files import SPLIT_FOLDERS, AudioIndex, Found, loose_name
from fusion_train.datasets.base import AUDIO, CARD, DatasetContent, PreparedDataset, open_dataset, write_dataset
from fusion_train.datasets.corpus_report import REPORT, Preparation, render_report, statistics
from fusion_train.datasets.folder import link_audio
from fusion_train.datasets.inspection import MISSING, Inspection, inspect_files
from fusion_train.datasets.overlap import SOURCES
from fusion_train.datasets.selection import select

SPLITS = ("train", "val", "test")
LISTS = "lists"


class CorpusOptions(BaseModel):
    """Where a corpus lies, and how much of it is used."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    audio_dir: Path | None = Field(
        default=None, description="Folder of the clips' files, at any depth; without it ROOT/audio, or the root itself."
    )
    csv_dir: Path | None = Field(
        default=None, description="Folder of the tables of captions; without it ROOT/csv, or the root itself."
    )
    train: int | None = Field(default=None, ge=1, description="Use only so many usable clips of train: a trial.")
    val: int | None = Field(default=None, ge=1, description="Use only so many usable clips of val: a trial.")
    test: int | None = Field(default=None, ge=2, description="Use only so many usable clips of test: a trial.")

    @property
    def limits(self) -> dict[str, int]:
        """How many clips are used at most of those splits that are cut."""
        given = {"train": self.train, "val": self.val, "test": self.test}
        return {split: count for split, count in given.items() if count is not None}


Options = TypeVar("Options", bound=CorpusOptions)


@dataclass(frozen=True)
class CorpusClip:
    """A clip as the corpus' tables name it.

    Attributes:
        id: as the field's tools name it; where two splits have a clip of one name, the later split's keeps it.
        split: train, val or test.
        captions: what people wrote.
        names: the stems that its file may have, the likeliest first.
        loosely: a file whose name has the same letters and digits is taken where no stem fits.
        licence: where the tables state it.
        source: the recording that the clip is cut from, such as ``youtube:7fmOlUlwoNg``.
    """

    id: str
    split: str
    captions: tuple[str, ...]
    names: tuple[str, ...]
    loosely: bool = False
    licence: str | None = None
    source: str | None = None


@dataclass(frozen=True)
class Corpus:
    """What the tables of a corpus hold; ``lists`` are published lists of test clips, ``quirks`` what was put right."""

    clips: Sequence[CorpusClip]
    lists: Mapping[str, Sequence[str]] = field(default_factory=dict)
    quirks: Sequence[str] = ()


class CorpusRecipe(ABC, Generic[Options]):
    """Prepares one corpus; a subclass reads its tables.

    Attributes:
        name: of the dataset.
        title: of the corpus.
        tables: the names that the table of a split may have, with ``{split}`` for the split's.
        source: where the tables are published.
        known: the published releases by the hash of a split's references.
        usual_seconds: between which lengths (s) the clips are; others are reported.
    """

    name: str
    title: str
    options_type: type[Options]
    tables: tuple[str, ...]
    source: str
    known: ClassVar[Mapping[str, str]]
    usual_seconds: tuple[float, float]

    @abstractmethod
    def read(self, tables: Mapping[str, Path]) -> Corpus:
        """Read the tables of the splits.

        Raises:
            DataError: a table is malformed; names the file and the line.
        """

    def chosen_list(self, options: Options) -> str | None:
        """Return the published list of clips that the test split is cut to; None is the whole split."""
        return None

    def identity(self, options: Options) -> dict[str, Any]:
        """Return what the content depends on: the files alone, which each preparation looks at anew.

        So a corpus is prepared once in one place, whatever share of it a run uses.
        """
        return {"corpus": self.name}

    def prepare(self, root: Path, options: Options) -> PreparedDataset:
        """Look for every clip that the tables name, decode what is there, and write what was found.

        Where no place is given and the corpus lies prepared, it is opened.

        Raises:
            DataError: there are no tables, a table is malformed, or the audio folder does not exist.
            ConfigError: ``root`` is in use by something else.
        """
        placed = options.audio_dir is not None or options.csv_dir is not None
        if (root / CARD).is_file():
            found = open_dataset(root)
            if found.name != self.name:
                raise ConfigError(f"{root} holds dataset '{found.name}'; give another folder with --root.")
            if not placed:
                return self._select(found, options)
        corpus = self.read(self._tables(root, options.csv_dir))
        audio_dir = options.audio_dir or _first_folder(root / AUDIO, root)
        return self._select(self._write(root, audio_dir, corpus, options), options)

    def _tables(self, root: Path, csv_dir: Path | None) -> dict[str, Path]:
        """Return the table of each split; train and val may be absent, test not."""
        folders = [csv_dir] if csv_dir is not None else [root / "csv", root]
        for folder in folders:
            found = {split: path for split in SPLITS if (path := self._table(folder, split)) is not None}
            if "test" in found:
                return found
        if csv_dir is not None:
            wanted = ", ".join(name.format(split="test") for name in self.tables)
            raise DataError(f"{csv_dir} holds no table of the test split ({wanted}); give its folder with --csv-dir.")
        raise DataError(
            f"{self.title} is not prepared in {root}: run `fusion data prepare {self.name} --csv-dir DIR --audio-dir "
            f"DIR` with the folder of its tables ({self.source}) and that of the clips' audio."
        )

    def _table(self, folder: Path, split: str) -> Path | None:
        names = (pattern.format(split=word) for pattern in self.tables for word in SPLIT_FOLDERS[split])
        return next((folder / name for name in names if (folder / name).is_file()), None)

    def _write(self, root: Path, audio_dir: Path, corpus: Corpus, options: Options) -> PreparedDataset:
        index = AudioIndex(audio_dir)
        shared = _names_of_several_splits(corpus.clips)
        found = [_find(index, clip, shared) for clip in corpus.clips]
        if not any(found):
            raise DataError(
                f"{audio_dir} holds no file of a clip of {self.title} among its {len(index.paths)} audio files; give "
                f"the folder of files such as {corpus.clips[-1].names[0]}.wav with --audio-dir."
            )
        prefix = link_audio(root, audio_dir)
        paths = list(dict.fromkeys(one.path for one in found if one))
        inspected = dict(zip(paths, inspect_files(audio_dir, paths, root), strict=True))
        rows = [_row(clip, file, inspected, prefix) for clip, file in zip(corpus.clips, found, strict=True)]
        references = _references(self.name, corpus.clips)
        lists = {name: _only(references[-1], set(ids)) for name, ids in corpus.lists.items()}
        quirks = [*corpus.quirks, *_quirks(found, index, corpus.clips)]
        preparation = Preparation(self.title, rows, references, lists, quirks, self.known, self.usual_seconds)
        (root / CARD).unlink(missing_ok=True)
        _write_sources_and_lists(root, corpus.clips, lists)
        write_atomic(root / REPORT, render_report(preparation).encode())
        places = options.model_copy(update={"train": None, "val": None, "test": None})
        return write_dataset(root, DatasetContent(self, places, rows, references, statistics=statistics(preparation)))

    def _select(self, dataset: PreparedDataset, options: Options) -> PreparedDataset:
        """Return the part of the corpus that the options ask for, which may be all of it.

        Raises:
            ConfigError: the list of test clips that is asked for is not of this test split.
        """
        ids, chosen = None, self.chosen_list(options)
        if chosen is not None:
            if chosen not in dataset.card.statistics.get("lists", {}):
                raise ConfigError(
                    f"{dataset.root} is not the whole test split that the list '{chosen}' is of; prepare the published table."
                )
            listed = References.read(dataset.root / LISTS / f"{chosen}.json")
            ids = frozenset(item.id for item in listed.items)
        return select(dataset, options.limits, ids) if options.limits or ids is not None else dataset


def with_unique_ids(clips: Sequence[CorpusClip]) -> tuple[list[CorpusClip], list[str]]:
    """Return the clips with an id each: of clips of one name the latest split's keeps it, others get ``split/name``.

    Also returns what was done, in a sentence each. The test split's ids stay as the field's tools have them.
    """
    last = {clip.id: clip.split for clip in clips}
    renamed = [replace(clip, id=f"{clip.split}/{clip.id}") if last[clip.id] != clip.split else clip for clip in clips]
    changed = [new.id for new, old in zip(renamed, clips, strict=True) if new.id != old.id]
    sentence = f"{len(changed)} names are in two splits; these clips have the split in their ids: {', '.join(changed)}"
    return renamed, [sentence] if changed else []


def _first_folder(*folders: Path) -> Path:
    return next((folder for folder in folders if folder.is_dir()), folders[-1])


def _names_of_several_splits(clips: Sequence[CorpusClip]) -> set[str]:
    """Return the loose names that clips of different splits share: only a split's folder tells their files apart."""
    splits: dict[str, set[str]] = {}
    for clip in clips:
        splits.setdefault(loose_name(clip.names[0]) if clip.loosely else clip.names[0], set()).add(clip.split)
    return {name for name, found in splits.items() if len(found) > 1}


def _find(index: AudioIndex, clip: CorpusClip, shared: set[str]) -> Found | None:
    name = clip.names[0]
    own_folder_only = (loose_name(name) if clip.loosely else name) in shared
    found = index.find(clip.names, clip.split, own_folder_only)
    return found or (index.find_loosely(name, clip.split, own_folder_only) if clip.loosely else None)


def _row(clip: CorpusClip, file: Found | None, inspected: Mapping[str, Inspection], prefix: str) -> ManifestRow:
    path = file.path if file else f"{clip.split}/{clip.names[0]}.wav"
    facts = (inspected[file.path] if file else MISSING).row()
    return ManifestRow(id=clip.id, path=prefix + path, split=clip.split, licence=clip.licence, **facts)


def _write_sources_and_lists(root: Path, clips: Sequence[CorpusClip], lists: Mapping[str, References]) -> None:
    sources = {clip.id: clip.source for clip in clips if clip.source is not None}
    write_atomic(root / SOURCES, json.dumps(sources, ensure_ascii=False, indent=0).encode())
    for stale in (root / LISTS).glob("*.json"):
        stale.unlink()
    for name, listed in lists.items():
        listed.write(root / LISTS / f"{name}.json")


def _references(dataset: str, clips: Sequence[CorpusClip]) -> list[References]:
    """Return the captions of each split, the test split's last."""
    items: dict[str, list[ReferenceItem]] = {}
    for clip in clips:
        items.setdefault(clip.split, []).append(ReferenceItem(id=clip.id, references=clip.captions))
    ordered = [split for split in SPLITS if split in items]
    return [References(dataset=dataset, split=split, items=tuple(items[split])) for split in ordered]


def _only(references: References, ids: set[str]) -> References:
    return references.model_copy(update={"items": tuple(item for item in references.items if item.id in ids)})


def _quirks(found: Sequence[Found | None], index: AudioIndex, clips: Sequence[CorpusClip]) -> list[str]:
    """Return what is odd about the folder, in a sentence each."""
    files = Counter(one.path for one in found if one)
    quirks = []
    several = sum(one.others > 0 for one in found if one)
    if several:
        quirks.append(f"{several} clips have more than one file; the first by path is taken")
    stems = {name for clip in clips for name in clip.names}
    renamed = [one.path for one in found if one and Path(one.path).stem not in stems]
    if renamed:
        quirks.append(f"{len(renamed)} files are known by their letters and digits alone, such as {renamed[0]}")
    spare = len(index.paths) - len(files)
    if spare:
        quirks.append(f"{spare} audio files belong to no clip of the tables, or are further files of one")
    return quirks
