"""`fusion encode` through the command line: counts, reasons and exit codes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fusion_train.datasets.folder import FolderOptions, FolderRecipe


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A prepared folder of four good files, one of them of 7 channels at 96 kHz, and three bad ones."""
    monkeypatch.setenv("FUSION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    audio = tmp_path / "audio"
    audio.mkdir()
    generator = np.random.default_rng(0)
    for number in range(3):
        soundfile.write(audio / f"good{number}.wav", generator.uniform(-1, 1, 8_000), 16_000)
    soundfile.write(audio / "studio.wav", generator.uniform(-1, 1, (48_000, 7)), 96_000)
    soundfile.write(audio / "cut.flac", generator.uniform(-1, 1, 32_000), 16_000)
    (audio / "cut.flac").write_bytes((audio / "cut.flac").read_bytes()[:20_000])
    (audio / "empty.wav").write_bytes(b"")
    (audio / "text.wav").write_text("[bold]no sound[/bold]")
    root = tmp_path / "dataset"
    FolderRecipe().prepare(root, FolderOptions(audio_dir=audio))
    return root


def fusion(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command line in this process and return its exit code."""
    from fusion_cli.main import run

    monkeypatch.setattr(sys, "argv", ["fusion", *arguments])
    with pytest.raises(SystemExit) as caught:
        run()
    return int(caught.value.code or 0)


def test_good_clips_are_encoded_and_bad_ones_shown(
    prepared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (prepared.parent / "audio" / "good2.wav").write_text("overwritten after the manifest was made")
    assert fusion(monkeypatch, "encode", str(prepared), "--encoder", "logmel", "--json") == 0
    first = json.loads(capsys.readouterr().out)
    assert (first["dataset"], first["encoder"]) == ("folder", "logmel")
    assert (first["encoded"], first["from_cache"]) == (3, 0)
    assert {clip["path"].rsplit("/")[-1] for clip in first["left_out_by_manifest"]} == {
        "cut.flac",
        "empty.wav",
        "text.wav",
    }
    assert all(clip["reason"] for clip in first["left_out_by_manifest"])
    assert ["has changed" in clip["reason"] for clip in first["quarantined"]] == [True]
    assert fusion(monkeypatch, "encode", str(prepared), "--encoder", "logmel") == 0
    output = capsys.readouterr().out
    assert "text.wav" in output
    assert "the file is empty (0 bytes)" in output
    assert "from cache" in output


def test_a_missing_root_is_exit_3_and_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = str(tmp_path / "absent")
    for arguments in (["encode", absent], ["encode", "scenes", "--root", absent]):
        assert fusion(monkeypatch, *arguments, "--encoder", "logmel") == 3
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith(f"error: {absent} does not exist")
        assert captured.err.count("\n") == 1


def test_a_dataset_or_encoder_of_no_such_name_is_exit_2(
    prepared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fusion(monkeypatch, "encode", "scense") == 2
    assert "scenes" in capsys.readouterr().err
    assert fusion(monkeypatch, "encode", str(prepared), "--encoder", "logmell") == 2
    assert "did you mean 'logmel'" in capsys.readouterr().err


def test_a_root_of_another_dataset_is_exit_3(
    prepared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fusion(monkeypatch, "encode", "scenes", "--root", str(prepared)) == 3
    assert "holds dataset 'folder', not 'scenes'" in capsys.readouterr().err
