"""`fusion train audiocaps` on a folder shaped like AudioCaps, a part of it missing: from the tables to scores over all clips."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fusion_eval.schemas import References, RunCard, Scores

pytestmark = pytest.mark.slow
COUNTS = {"train": 12, "val": 3, "test": 7}
WITHOUT_AUDIO = {"test0000003": None, "test0000005": b"no sound", "train000007": None}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with tables and audio, and a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FUSION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "160")
    (tmp_path / "csv").mkdir()
    for split, count in COUNTS.items():
        lines = ["audiocap_id,youtube_id,start_time,caption"]
        for number in range(count):
            clip = f"{split}{number:0{11 - len(split)}d}"
            captions = 1 if split == "train" else 5
            lines += [f"{number * 5 + k},{clip},30,A sound of kind {number % 3} and {k}" for k in range(captions)]
            path = tmp_path / "wav" / split / f"Y{clip}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            if clip not in WITHOUT_AUDIO:
                soundfile.write(path, np.random.default_rng(number).uniform(-0.5, 0.5, 16_000), 16_000)
            elif (content := WITHOUT_AUDIO[clip]) is not None:
                path.write_bytes(content)
        (tmp_path / "csv" / f"{split}.csv").write_text("\n".join(lines))
    return tmp_path


def fusion(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command line in this process and return its exit code."""
    from fusion_cli.main import run

    monkeypatch.setattr(sys, "argv", ["fusion", *arguments])
    with pytest.raises(SystemExit) as caught:
        run()
    return int(caught.value.code or 0)


def test_a_training_on_what_could_be_had_is_scored_over_all(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train = ("train", "audiocaps", "--system", "additive", "--profile", "tiny", "--json", "--out")
    assert fusion(monkeypatch, *train, "refused") == 3
    assert "run `fusion data prepare audiocaps --csv-dir DIR --audio-dir DIR`" in capsys.readouterr().err
    assert fusion(monkeypatch, "data", "prepare", "audiocaps", "--csv-dir", "csv", "--audio-dir", "wav", "--json") == 0
    prepared = json.loads(capsys.readouterr().out)
    assert prepared["splits"]["test"] == {"ok": 5, "missing": 1, "corrupt": 1, "too_short": 0}
    assert "scored over 7 clips; 2 without usable audio" in prepared["denominators"][-1]
    assert fusion(monkeypatch, *train, "run") == 0
    assert "test: scored over 7 clips; 2 without usable audio (1 missing, 1 corrupt)" in capsys.readouterr().err
    references = References.read(place / "data" / "audiocaps" / "references" / "test.json")
    for condition in ("audio", "shuffled", "none"):
        scores = Scores.read(place / "run" / "scores" / f"{condition}.json")
        assert scores.references_sha256 == references.sha256()
        assert scores.n == len(scores.per_clip) == COUNTS["test"]
        values = {clip.id: clip.values["cider_d"] for clip in scores.per_clip}
        assert all(values[clip] == 0 for clip in WITHOUT_AUDIO if clip in values)
    card = RunCard.read(place / "run" / "run_card.json")
    assert card.dataset.counts_by_status == {"ok": 19, "missing": 2, "corrupt": 1, "too_short": 0}
