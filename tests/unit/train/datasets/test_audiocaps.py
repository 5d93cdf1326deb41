"""AudioCaps: whichever release and names of files, every clip of the tables stays, and the published lists are known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fusion_core.errors import ConfigError, DataError
from fusion_eval.clip_lists import published_lists
from fusion_eval.schemas import References
from fusion_eval.tokenize import tokenize
from fusion_train.datasets.audiocaps import AudioCapsOptions, AudioCapsRecipe
from fusion_train.datasets.base import open_dataset
from fusion_train.datasets.captions_csv import normalise_caption, read_table
from fusion_train.datasets.corpus_report import denominators
from fusion_train.datasets.registry import default_root, parse_options, prepare_dataset

RATE = 8_000
NAMES = {  # a clip of the test split -> how its file is called
    "-abcdefgh_1": "-abcdefgh_1.wav",
    "Yabcdefghi2": "test/YYabcdefghi2.flac",
    "abcdefghij3": "abcdefghij3_30.ogg",
    "abcdefghij4": "deep/er/Yabcdefghij4_30_40.wav",
    "abcdefghij5": "abcdefghij5_30000_40000.WAV",
    "abcdefghij6": "test/1061.wav",
}
TEST = [*NAMES, "missingclip", "corruptclip", "shortishclp"]
TRAIN = ["trainclip01", "trainclip02", "twoclips__3", "twoclips__3"]


def sound(path: Path, seed: int, seconds: float = 0.5) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(seed).uniform(-0.5, 0.5, int(seconds * RATE)), RATE)


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    folder = tmp_path / "csv"
    folder.mkdir()
    head = "audiocap_id,youtube_id,start_time,caption\r\n"
    train = "".join(f"{n},{clip},{n * 10},A sound of {n}\r\n" for n, clip in enumerate(TRAIN))
    (folder / "train.csv").write_text(head + train, newline="")
    (folder / "val.csv").write_text(head + "900,valclip0001,0,Wind\r\n901,valclip0001,0,A storm\r\n", newline="")
    test = "".join(
        f'{1000 + 10 * n + k},{clip},30,"Caption {k}, of {clip}"\r\n' for k in (0, 1) for n, clip in enumerate(TEST, 1)
    )
    (folder / "test.csv").write_text(head + test, newline="")
    return folder


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    folder = tmp_path / "wavs"
    for seed, name in enumerate([*NAMES.values(), "train/trainclip01.wav", "twoclips__3_20.wav", "valclip0001.wav"]):
        sound(folder / name, seed)
    (folder / "Ycorruptclip.wav").write_text("no sound")
    sound(folder / "shortishclp.wav", 99, 0.05)
    sound(folder / "somebodyels.wav", 100)
    return folder


@pytest.fixture
def options(tables: Path, audio: Path) -> AudioCapsOptions:
    return AudioCapsOptions(csv_dir=tables, audio_dir=audio)


def test_every_clip_of_the_tables_stays_and_its_file_is_found(options: AudioCapsOptions, tmp_path: Path) -> None:
    dataset = AudioCapsRecipe().prepare(tmp_path / "root", options)
    rows = {row.id: row for row in dataset.rows("test")}
    assert list(rows) == TEST
    for clip, name in NAMES.items():
        assert (rows[clip].status, rows[clip].path, rows[clip].seconds) == ("ok", f"audio/{name}", 0.5)
        assert dataset.audio_path(rows[clip]).is_file()
    statuses = [rows[clip].status for clip in TEST[-3:]]
    assert statuses == ["missing", "corrupt", "too_short"]
    assert [item.id for item in dataset.references("test").items] == TEST
    assert dataset.references("test").items[0].references == ("Caption 0, of -abcdefgh_1", "Caption 1, of -abcdefgh_1")
    assert [row.id for row in dataset.rows("train")] == [
        "trainclip01",
        "trainclip02",
        "twoclips__3_20",
        "twoclips__3_30",
    ]
    assert [row.status for row in dataset.rows("train")] == ["ok", "missing", "ok", "missing"]
    assert denominators(dataset) == [
        "train: 2 clips with usable audio; without: 2 missing",
        "val: scored over 1 clips, all with usable audio",
        "test: scored over 9 clips; 3 without usable audio (1 missing, 1 corrupt, 1 too short) count as empty captions",
    ]


def test_the_report_lists_hashes_quirks_and_every_clip_without_audio(options: AudioCapsOptions, tmp_path: Path) -> None:
    root = tmp_path / "root"
    dataset = AudioCapsRecipe().prepare(root, options)
    report = (root / "report.md").read_text()
    for clip in ("missingclip", "corruptclip", "shortishclp", "trainclip02"):
        assert f"| `{clip}` |" in report
    assert dataset.references("test").sha256() in report
    found = dataset.card.statistics["splits"]["test"]
    assert (found["clips"], found["ok"], found["captions"], found["release"]) == (9, 6, 18, None)
    assert found["of_unusual_length"] == 6  # half a second each
    assert found["seconds"] == {"shortest": 0.5, "median": 0.5, "longest": 0.5}
    assert dataset.card.statistics["quirks"] == [
        "1 audio files belong to no clip of the tables, or are further files of one"
    ]


def test_a_preparation_goes_on_and_sees_new_files(
    options: AudioCapsOptions, audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    first = AudioCapsRecipe().prepare(root, options)
    lines = (root / "inspected.jsonl").read_text().splitlines()
    (root / "inspected.jsonl").write_text("\n".join(lines[:3]) + '\n{"path": "cut o')
    monkeypatch.setattr("fusion_train.datasets.inspection.load_audio", counted := Counted())
    sound(audio / "missingclip.wav", 7)
    again = AudioCapsRecipe().prepare(root, options)
    assert counted.paths.isdisjoint(json.loads(line)["path"] for line in lines[:3])
    assert {row.id: row.status for row in again.rows("test")}["missingclip"] == "ok"
    assert [row for row in again.manifest if row.id != "missingclip"] == [
        row for row in first.manifest if row.id != "missingclip"
    ]


class Counted:
    """Decodes, and knows what it decoded."""

    def __init__(self) -> None:
        self.paths: set[str] = set()

    def __call__(self, path: Path, sample_rate: int) -> object:
        from fusion_encoders.audio import load_audio

        self.paths.add(path.name)
        return load_audio(path, sample_rate)


def test_one_folder_serves_every_share_of_it(options: AudioCapsOptions, tmp_path: Path) -> None:
    root = tmp_path / "root"
    whole = AudioCapsRecipe().prepare(root, options)
    part = AudioCapsRecipe().prepare(root, AudioCapsOptions(test=4, train=100))
    assert part.root == whole.root
    assert len(part.rows("test")) == len(part.references("test").items) == 4
    assert all(row.status == "ok" for row in part.rows("test"))
    assert part.rows("train") == whole.rows("train")
    assert part.references("test").sha256() != whole.references("test").sha256()
    assert "scored over 4 of 9 clips" in denominators(part)[-1]
    more = AudioCapsRecipe().prepare(root, AudioCapsOptions(test=5))
    assert {row.id for row in part.rows("test")} < {row.id for row in more.rows("test")}
    assert open_dataset(root).manifest == whole.manifest
    assert default_root("audiocaps", AudioCapsOptions(test=4)) == default_root("audiocaps") == Path("data/audiocaps")


def test_tables_and_audio_are_found_in_the_root(tables: Path, audio: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    tables.rename(root / "csv")
    audio.rename(root / "audio")
    dataset = prepare_dataset("audiocaps", root=root)
    assert sum(row.status == "ok" for row in dataset.manifest) == 9
    assert dataset.manifest[0].path == "audio/train/trainclip01.wav"


def test_what_is_missing_is_said_with_the_next_command(
    tables: Path,
    tmp_path: Path,
    fusion: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert fusion("data", "prepare", "audiocaps") == 3
    error = capsys.readouterr().err
    assert "run `fusion data prepare audiocaps --csv-dir DIR --audio-dir DIR`" in error
    (tmp_path / "silent").mkdir()
    for arguments, message in (
        (("--csv-dir", "silent"), "holds no table of the test split (test.csv"),
        (("--csv-dir", str(tables), "--audio-dir", "silent"), "holds no file of a clip of AudioCaps"),
        (("--csv-dir", str(tables), "--audio-dir", "nowhere"), "does not exist; give an existing one with --audio-dir"),
    ):
        assert fusion("data", "prepare", "audiocaps", *arguments) == 3
        assert message in capsys.readouterr().err
    assert not (tmp_path / "data" / "audiocaps" / "dataset.json").exists()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1,#NAME?,0,Rain", r"line 2: youtube_id '#NAME\?' is no id of 11"),
        ("1,abcdefghijk,0,", "line 2: the caption is empty"),
    ],
)
def test_malformed_rows_are_refused_by_line(tmp_path: Path, row: str, message: str) -> None:
    (tmp_path / "test.csv").write_text(f"audiocap_id,youtube_id,start_time,caption\n{row}\n")
    with pytest.raises(DataError, match=message):
        AudioCapsRecipe().prepare(tmp_path / "root", AudioCapsOptions(csv_dir=tmp_path))


def test_a_clip_of_two_splits_has_two_rows_and_is_named(tables: Path, audio: Path, tmp_path: Path) -> None:
    with (tables / "train.csv").open("a") as stream:
        stream.write(f"77,{TEST[0]},30,Seen in training\n")
    dataset = AudioCapsRecipe().prepare(tmp_path / "root", AudioCapsOptions(csv_dir=tables, audio_dir=audio))
    assert dataset.rows("train")[-1].id == f"train/{TEST[0]}"
    assert f"train/{TEST[0]}" in dataset.card.statistics["quirks"][0]


def test_another_dataset_in_the_root_is_refused(options: AudioCapsOptions, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    AudioCapsRecipe().prepare(tmp_path / "root", options)
    with pytest.raises(ConfigError, match="holds dataset 'audiocaps'"):
        prepare_dataset("clotho", root=tmp_path / "root")
    with pytest.raises(ConfigError, match="not the whole test split that the list 'common-957' is of"):
        AudioCapsRecipe().prepare(tmp_path / "root", AudioCapsOptions(test_list="common-957"))
    with pytest.raises(ConfigError, match="test_list"):
        parse_options("audiocaps", {"test_list": "official-974"})


def test_the_command_prints_what_scores_are_over(
    options: AudioCapsOptions, tmp_path: Path, fusion: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    places = ("--csv-dir", str(options.csv_dir), "--audio-dir", str(options.audio_dir))
    assert fusion("data", "prepare", "audiocaps", *places, "--root", str(tmp_path / "root")) == 0
    printed = capsys.readouterr()
    assert "test: scored over 9 clips; 3 without usable audio" in printed.out
    assert "no known release" in printed.out
    assert "report.md" in printed.err


def test_the_published_tables_are_known_whole(shared: Path) -> None:
    """The counts of the release, the lists, the hashes that the report names, and no token lost by normalisation."""
    folder = shared / "data" / "aac" / "audiocaps"
    recipe = AudioCapsRecipe()
    corpus = recipe.read({split: folder / f"{split}.csv" for split in ("train", "val", "test")})
    counts = {split: [clip for clip in corpus.clips if clip.split == split] for split in ("train", "val", "test")}
    assert {split: len(clips) for split, clips in counts.items()} == {"train": 49_838, "val": 495, "test": 975}
    assert {len(clip.captions) for clip in counts["train"]} == {1}
    assert {len(clip.captions) for clip in (*counts["val"], *counts["test"])} == {5}
    assert corpus.quirks == []
    listed = read_table(folder / "test_957_wavcaps.csv")
    common = corpus.lists["common-957"]
    assert common == [row.text("file_name")[1:-4] for row in listed.rows]
    assert [len(ids) for ids in corpus.lists.values()] == [975, 957, 912]
    for split, clips in counts.items():
        captions = {clip.id: clip.captions for clip in clips}
        digest = References.from_captions(captions, "audiocaps", split).sha256()
        assert recipe.known[digest] == f"AudioCaps 1.0 {split}"
    test = {clip.id: clip.captions for clip in counts["test"] if clip.id in set(common)}
    assert recipe.known[References.from_captions(test, "audiocaps").sha256()] == "AudioCaps 1.0 test, the common 957"
    wavcaps = recipe.read({"test": folder / "test_957_wavcaps.csv"})
    assert {clip.id: clip.captions for clip in wavcaps.clips} == test
    written = [row.text("caption") for row in read_table(folder / "val.csv").rows]
    assert all(tokenize(text) == tokenize(normalise_caption(text)) for text in written)


def test_lists_are_known_for_the_official_test_split_alone() -> None:
    assert published_lists(["abcdefghijk"]) == {}
