"""Clotho 2.1: clips of 15 to 30 s from Freesound with five captions each, written by people.

Drossos, Lipping and Virtanen, «Clotho: an Audio Captioning Dataset», ICASSP 2020. Its development, validation and
evaluation sets are train, val and test here. File names are as their authors wrote them: spaces at either end, commas, HTML's
entities; four names are in two sets, of different recordings.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import ClassVar

from fusion_core.errors import DataError

from fusion_train.datasets.captions_csv import Row, Table, parse_csv, read_table, read_text
from fusion_train.datasets.corpus import Corpus, CorpusClip, CorpusOptions, CorpusRecipe, with_unique_ids


class ClothoRecipe(CorpusRecipe[CorpusOptions]):
    """Prepares Clotho from its tables and the folders of its archives."""

    name = "clotho"
    title = "Clotho"
    options_type = CorpusOptions
    tables = ("clotho_captions_{split}.csv", "{split}.csv", "{split}/metadata.csv", "{split}/metadata.jsonl")
    source = "clotho_captions_development.csv, …_validation.csv and …_evaluation.csv from zenodo.org/records/4783391"
    usual_seconds = (14.5, 30.5)
    known: ClassVar[Mapping[str, str]] = {
        "4a9923a968b81047c54357d2a4f6c0fd99ab239c6b6ba6755a3d8df60390608f": "Clotho 2.1 development",
        "c07a4663136ca0150b5e7299cdc68f81dab5ca62a5e7608142e6884da25e32cd": "Clotho 2.1 validation",
        "a4b822572fd829fb32089e56e1c4fb36ebdf1851f3d4487fd911879974430641": "Clotho 2.1 evaluation",
    }

    def read(self, tables: Mapping[str, Path]) -> Corpus:
        """Read the tables of the splits, and sources and licences where the tables of metadata lie beside them.

        Raises:
            DataError: a table is malformed; names the file and the line.
        """
        clips: list[CorpusClip] = []
        for split, path in tables.items():
            clips += _clips(read_table(path), split, _metadata(path))
        unique, renamed = with_unique_ids(clips)
        return Corpus(unique, quirks=renamed)


def _clips(table: Table, split: str, metadata: Mapping[str, Row]) -> list[CorpusClip]:
    table.require("file_name")
    captions: dict[str, list[str]] = defaultdict(list)
    for row in table.rows:
        name = str(row.fields["file_name"])
        texts = table.captions(row)
        if not name.strip() or not texts:
            raise DataError(f"{table.path}, line {row.line}: the file name or the captions are empty; remove the row.")
        captions[name] += texts
    return [_clip(name, split, tuple(written), metadata.get(name)) for name, written in captions.items()]


def _clip(name: str, split: str, captions: tuple[str, ...], facts: Row | None) -> CorpusClip:
    licence = facts.text("license") if facts else ""
    sound = facts.text("sound_id") if facts else ""
    return CorpusClip(
        name,
        split,
        captions,
        (PurePosixPath(name).stem,),
        loosely=True,
        licence=licence or None,
        source=f"freesound:{sound}" if sound.isdigit() else None,
    )


def _metadata(captions: Path) -> dict[str, Row]:
    """Return the rows of the table of metadata that lies beside a table of captions, by file name; none without one."""
    path = captions.with_name(captions.name.replace("captions", "metadata"))
    if path == captions or not path.is_file():
        return {}
    table = parse_csv(path, read_text(path, fallback="latin-1"))
    table.require("file_name", "sound_id", "license")
    return {str(row.fields["file_name"]): row for row in table.rows}
