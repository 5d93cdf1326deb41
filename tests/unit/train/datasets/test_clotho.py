"""Clotho: file names as their authors wrote them, names that two sets share, sources and licences from the metadata."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from fusion_core.errors import DataError
from fusion_eval.schemas import References
from fusion_eval.tokenize import tokenize
from fusion_train.datasets.audio_files import loose_name
from fusion_train.datasets.captions_csv import read_table
from fusion_train.datasets.clotho import ClothoRecipe
from fusion_train.datasets.corpus import CorpusOptions
from fusion_train.datasets.overlap import sources

NAMES = {  # as the table has them -> as they lie on the disk
    " Ambience, Birds .wav": "evaluation/ Ambience, Birds .wav",
    "Chris&#39; Elevator &amp; hall.wav": "evaluation/Chris' Elevator & hall.wav",
    'a "quoted", name.wav': "evaluation/a _quoted__ name.flac",
    "Crépuscule d'été.wav": "evaluation/Cre\u0301puscule d'e\u0301te\u0301.wav",
    "DOOR.wav": "evaluation/DOOR.wav",
}


def quoted(*fields: str) -> str:
    return ",".join('"' + field.replace('"', '""') + '"' for field in fields)


@pytest.fixture
def corpus(tmp_path: Path) -> CorpusOptions:
    head = "file_name," + ",".join(f"caption_{n}" for n in range(1, 6))
    captions = [f"Caption {n},  of\nit " for n in range(5)]
    lines = [head, *(quoted(name, *captions) for name in NAMES)]
    (tmp_path / "clotho_captions_evaluation.csv").write_text("\n".join(lines), encoding="utf-8")
    train = [head, *(quoted(name, *captions) for name in ("DOOR.wav", "gone.wav"))]
    (tmp_path / "clotho_captions_development.csv").write_text("\n".join(train), encoding="utf-8")
    metadata = "file_name,keywords,sound_id,sound_link,start_end_samples,manufacturer,license\n" + quoted(
        "DOOR.wav", "caf\xe9;door", "80399", "", "", "", "http://creativecommons.org/licenses/by/3.0/"
    )
    (tmp_path / "clotho_metadata_evaluation.csv").write_bytes(metadata.encode("latin-1"))
    audio = tmp_path / "audio"
    for number, name in enumerate(NAMES.values()):
        (audio / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(audio / name, np.random.default_rng(number).uniform(-0.5, 0.5, 4_000), 8_000)
    return CorpusOptions(csv_dir=tmp_path, audio_dir=audio)


def test_files_are_found_by_exact_or_by_loose_name(corpus: CorpusOptions, tmp_path: Path) -> None:
    dataset = ClothoRecipe().prepare(tmp_path / "root", corpus)
    rows = {row.id: row for row in dataset.rows("test")}
    assert {clip: (row.path, row.status) for clip, row in rows.items()} == {
        clip: (f"audio/{path}", "ok") for clip, path in NAMES.items()
    }
    assert dataset.references("test").items[0].references[0] == "Caption 0, of it"
    quirks = dataset.card.statistics["quirks"]
    assert "3 files are known by their letters and digits alone" in quirks[1]


def test_a_name_of_two_sets_is_taken_from_its_own_folder_alone(corpus: CorpusOptions, tmp_path: Path) -> None:
    dataset = ClothoRecipe().prepare(tmp_path / "root", corpus)
    assert {row.id: row.status for row in dataset.rows("train")} == {"train/DOOR.wav": "missing", "gone.wav": "missing"}
    assert {row.id: row.status for row in dataset.rows("test")}["DOOR.wav"] == "ok"
    assert "train/DOOR.wav" in dataset.card.statistics["quirks"][0]


def test_sources_and_licences_are_those_of_the_metadata(corpus: CorpusOptions, tmp_path: Path) -> None:
    dataset = ClothoRecipe().prepare(tmp_path / "root", corpus)
    row = next(row for row in dataset.manifest if row.id == "DOOR.wav")
    assert row.licence == "http://creativecommons.org/licenses/by/3.0/"
    assert (
        dict(zip([row.id for row in dataset.manifest], sources(dataset), strict=True))["DOOR.wav"] == "freesound:80399"
    )


def test_a_row_without_captions_is_refused(tmp_path: Path) -> None:
    (tmp_path / "evaluation.csv").write_text("file_name,caption_1\na.wav,  \n")
    with pytest.raises(DataError, match="line 2: the file name or the captions are empty"):
        ClothoRecipe().prepare(tmp_path / "root", CorpusOptions(csv_dir=tmp_path))


def test_the_published_tables_are_known_whole(shared: Path) -> None:
    folder = shared / "data" / "aac" / "clotho"
    names = {"train": "development", "val": "validation", "test": "evaluation"}
    recipe = ClothoRecipe()
    paths = {split: folder / f"clotho_captions_{name}.csv" for split, name in names.items()}
    clips = recipe.read(paths).clips
    assert [sum(clip.split == split for clip in clips) for split in names] == [3_839, 1_045, 1_045]
    assert {len(clip.captions) for clip in clips} == {5}
    assert [clip.id for clip in clips if clip.id.startswith(("train/", "val/"))] == [
        "train/City Ambience w_ Car Passing_1-2.wav",
        "train/FREEZER_DOOR_OPEN_CLOSE.wav",
        "val/01 A pug struggles to breathe 1_14_2008.wav",
        "val/Bus(Drive_Reverse)_1-2.wav",
    ]
    for split, name in names.items():
        captions = {clip.id: clip.captions for clip in clips if clip.split == split}
        assert recipe.known[References.from_captions(captions, "clotho", split).sha256()] == f"Clotho 2.1 {name}"
    table = read_table(paths["train"])
    changed = 0
    for row in table.rows:
        for column, caption in zip(table.caption_columns, table.captions(row), strict=True):
            changed += caption != row.fields[column]
            assert caption == row.fields[column] or tokenize(caption) == tokenize(row.fields[column])
    assert changed == 76


def test_loose_names_keep_letters_and_digits() -> None:
    assert loose_name("Chris&#39; Elevator &amp; hall 2 ") == "chriselevatorhall2"
    assert loose_name("e\u0301TE\u0301") == loose_name("été")
