"""One's own folder of audio: faults are quarantined with a reason, captions are kept, paths stay inside."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fusion_core.errors import ConfigError, DataError
from fusion_train.datasets.base import open_dataset
from fusion_train.datasets.folder import FolderOptions, FolderRecipe
from fusion_train.datasets.verify import verify

BAD = {
    "empty.wav": ("corrupt", "empty"),
    "noise.mp3": ("corrupt", "does not decode"),
    "text.wav": ("corrupt", "does not decode"),
    "truncated.flac": ("corrupt", "does not decode"),
    "zero.wav": ("too_short", "0.000 s"),
    "short.wav": ("too_short", "0.050 s"),
    "nan.wav": ("corrupt", "NaN"),
    "cut.wav": ("corrupt", "the file is cut off: 20000 of 32044 bytes"),
}
GOOD = ("8bit.wav", "deep/er/song.ogg", "seven.wav", "streamed.wav")


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    folder = tmp_path / "sounds"
    (folder / "deep" / "er").mkdir(parents=True)
    generator = np.random.default_rng(0)
    second = generator.uniform(-0.5, 0.5, 16_000)
    soundfile.write(folder / "seven.wav", generator.uniform(-0.5, 0.5, (96_000, 7)), 96_000, subtype="PCM_24")
    soundfile.write(folder / "8bit.wav", second, 16_000, subtype="PCM_U8")
    soundfile.write(folder / "deep" / "er" / "song.ogg", second, 16_000)
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.wav").write_text("this is no audio at all, but somebody renamed it")
    (folder / "noise.mp3").write_bytes(generator.bytes(500))
    soundfile.write(folder / "truncated.flac", np.tile(second, 4), 16_000)
    whole = (folder / "truncated.flac").read_bytes()
    (folder / "truncated.flac").write_bytes(whole[: len(whole) // 2])
    soundfile.write(folder / "streamed.wav", second, 16_000)
    streamed = (folder / "streamed.wav").read_bytes()
    (folder / "cut.wav").write_bytes(streamed[:20_000])
    (folder / "streamed.wav").write_bytes(streamed[:4] + b"\xff" * 4 + streamed[8:])
    soundfile.write(folder / "zero.wav", np.zeros(0), 16_000)
    soundfile.write(folder / "short.wav", second[:800], 16_000)
    broken = second.copy()
    broken[5_000] = np.nan
    soundfile.write(folder / "nan.wav", broken, 16_000, subtype="FLOAT")
    (folder / "notes.txt").write_text("not listed")
    return folder


def test_bad_files_are_quarantined_and_the_rest_goes_on(audio: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    FolderRecipe().prepare(root, FolderOptions(audio_dir=audio))
    dataset = open_dataset(root)
    rows = {row.id: row for row in dataset.manifest}
    assert sorted(rows) == sorted([*BAD, *GOOD])
    for name, (status, reason) in BAD.items():
        assert rows[name].status == status, name
        assert reason in (rows[name].reason or ""), name
        assert rows[name].sha256 is None
    for name in GOOD:
        assert (rows[name].status, rows[name].seconds, rows[name].reason) == ("ok", 1.0, None)
        assert dataset.audio_path(rows[name]) == (audio / name).resolve()
    assert rows["seven.wav"].sample_rate == 96_000
    assert not dataset.has_references("test")
    assert dataset.events("test") is None
    report = verify(root)
    assert report.ok
    assert {fault.id for fault in report.quarantined} == set(BAD)


def test_a_folder_can_be_its_own_root(audio: Path) -> None:
    dataset = FolderRecipe().prepare(audio, FolderOptions())
    assert {row.path for row in dataset.manifest} == {*BAD, *GOOD}
    again = FolderRecipe().prepare(audio, FolderOptions())
    assert again.card.manifest_sha256 == dataset.card.manifest_sha256
    assert not (audio / "audio").exists()


def test_captions_are_grouped_by_clip_and_split(audio: Path, tmp_path: Path) -> None:
    (audio / "captions.csv").write_text(
        "path,caption,split\n"
        'seven.wav,"A hiss, loud.",train\n'
        "seven.wav,Noise of seven channels.,train\n"
        "gone.wav,Nobody hears it.,\n"
        "empty.wav,An empty file.,\n",
        encoding="utf-8-sig",
    )
    dataset = FolderRecipe().prepare(tmp_path / "root", FolderOptions(audio_dir=audio, split="val"))
    statuses = {row.id: (row.split, row.status) for row in dataset.manifest}
    assert statuses == {"seven.wav": ("train", "ok"), "gone.wav": ("val", "missing"), "empty.wav": ("val", "corrupt")}
    train, val = dataset.references("train"), dataset.references("val")
    assert train.items[0].references == ("A hiss, loud.", "Noise of seven channels.")
    assert [item.id for item in val.items] == ["gone.wav", "empty.wav"]  # the denominator stays


def test_captions_of_an_earlier_preparation_do_not_stay(audio: Path, tmp_path: Path) -> None:
    captions = tmp_path / "mine.csv"
    captions.write_text("path,caption,split\nseven.wav,A hiss.,train\n")
    options = FolderOptions(audio_dir=audio, csv_dir=captions)
    assert FolderRecipe().prepare(tmp_path / "root", options).has_references("train")
    captions.write_text("path,caption,split\nseven.wav,A hiss.,test\n")
    dataset = FolderRecipe().prepare(tmp_path / "root", options)
    assert not dataset.has_references("train")
    assert dataset.has_references("test")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,caption\n../secret.wav,A secret.\n", r"line 2: the path '../secret.wav' leaves"),
        ("path,caption\nseven.wav,A hiss.\n/etc/passwd,A secret.\n", r"line 3: the path '/etc/passwd' leaves"),
        ("path,caption\n,No file.\n", "line 2: the field path is empty"),
        ("file,text\na.wav,A.\n", "needs the columns path and caption"),
        ("path,caption,split\na.wav,A.,train\na.wav,B.,test\n", r"line 3: 'a.wav' is in split 'test' here"),
        ("path,caption\n", "names no audio file"),
        (b"path,caption\na.wav,\xff\xfe\n", "in UTF-8"),
    ],
)
def test_a_malformed_csv_file_is_refused_by_line(audio: Path, text: str | bytes, message: str) -> None:
    (audio / "captions.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=message) as caught:
        FolderRecipe().prepare(audio, FolderOptions())
    assert "\n" not in str(caught.value)
    assert not (audio / "manifest.parquet").exists()


def test_the_audio_folders_of_dataset_libraries_are_read(audio: Path, tmp_path: Path) -> None:
    """A metadata.csv in each split's folder, or one for all; JSON lines with several captions of a clip."""
    folder = tmp_path / "library"
    for split in ("train", "validation"):
        (folder / split).mkdir(parents=True)
        (folder / split / "a.wav").write_bytes((audio / "8bit.wav").read_bytes())
        (folder / split / "metadata.csv").write_text(f"file_name,text\na.wav,A hiss of {split}\n")
    dataset = FolderRecipe().prepare(tmp_path / "root", FolderOptions(audio_dir=folder))
    assert {row.id: row.split for row in dataset.manifest} == {"train/a.wav": "train", "validation/a.wav": "val"}
    assert dataset.references("val").items[0].references == ("A hiss of validation",)
    lines = [{"file_name": f"{split}/a.wav", "captions": ["One", "Two"]} for split in ("train", "validation")]
    (folder / "metadata.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    dataset = FolderRecipe().prepare(tmp_path / "root", FolderOptions(audio_dir=folder))
    assert {row.id: row.split for row in dataset.manifest} == {"train/a.wav": "train", "validation/a.wav": "val"}
    assert dataset.references("train").items[0].references == ("One", "Two")


def test_links_that_leave_the_folder_are_quarantined(audio: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.wav").write_bytes((audio / "8bit.wav").read_bytes())
    (audio / "link.wav").symlink_to(tmp_path / "outside.wav")
    dataset = FolderRecipe().prepare(tmp_path / "root", FolderOptions(audio_dir=audio))
    row = next(row for row in dataset.manifest if row.id == "link.wav")
    assert (row.status, "leaves" in (row.reason or "")) == ("missing", True)
    with pytest.raises(DataError, match="leaves the"):
        dataset.audio_path(row)


def test_missing_places_are_named(audio: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere does not exist.*--audio-dir") as caught:
        FolderRecipe().prepare(tmp_path / "root", FolderOptions(audio_dir=tmp_path / "nowhere"))
    assert caught.value.exit_code == 3
    with pytest.raises(DataError, match="--csv-dir"):
        FolderRecipe().prepare(tmp_path / "root", FolderOptions(audio_dir=audio, csv_dir=tmp_path / "nowhere"))
    (tmp_path / "silent").mkdir()
    with pytest.raises(DataError, match="names no audio file"):
        FolderRecipe().prepare(tmp_path / "root", FolderOptions(audio_dir=tmp_path / "silent"))


def test_a_root_in_use_is_refused(audio: Path, tmp_path: Path) -> None:
    FolderRecipe().prepare(tmp_path / "root", FolderOptions(audio_dir=audio))
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.wav").write_bytes((audio / "8bit.wav").read_bytes())
    with pytest.raises(ConfigError, match="another dataset"):
        FolderRecipe().prepare(tmp_path / "root", FolderOptions(audio_dir=other))


def test_the_command_shows_the_reasons_and_succeeds(
    audio: Path, tmp_path: Path, fusion: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(tmp_path / "root")
    assert fusion("data", "prepare", "folder", "--audio-dir", str(audio), "--root", root) == 0
    shown = capsys.readouterr().out
    for name, (_, reason) in BAD.items():
        line = next(line for line in shown.splitlines() if name in line)
        assert reason in line
    assert fusion("data", "verify", root, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["splits"] == {"test": {"ok": 4, "missing": 0, "corrupt": 6, "too_short": 2}}
    assert result["ok"] is True


def test_a_missing_root_is_one_sentence_and_exit_code_3(
    tmp_path: Path, fusion: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = str(tmp_path / "nowhere")
    for arguments in (("prepare", "folder", "--root", nowhere), ("verify", nowhere)):
        assert fusion("data", *arguments) == 3
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.count("\n") == 1
        assert "does not exist" in printed.err
