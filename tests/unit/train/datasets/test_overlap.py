"""Recordings that two datasets share: by source, by bytes, by sound."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fusion_train.datasets.base import PreparedDataset
from fusion_train.datasets.folder import FolderOptions, FolderRecipe
from fusion_train.datasets.overlap import Match, overlap, sources
from scipy.signal import resample_poly

RATE = 16_000


def noise(seed: int) -> np.ndarray:
    """Five seconds of noise whose colour and level change, as those of a recording do."""
    generator = np.random.default_rng(seed)
    parts = []
    for _ in range(10):
        white = generator.standard_normal(RATE // 2)
        kernel = generator.standard_normal(generator.integers(2, 40))
        parts.append(np.convolve(white, kernel, "same") * generator.uniform(0.01, 0.1))
    return np.concatenate(parts) / 10


@pytest.fixture
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[PreparedDataset, PreparedDataset]:
    monkeypatch.setenv("FUSION_CACHE", str(tmp_path / "cache"))
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first / "train", first / "test", second):
        folder.mkdir(parents=True)
    for seed in range(4):
        soundfile.write(first / "train" / f"sound{seed}.wav", noise(seed), RATE)
    soundfile.write(first / "train" / "Yabcdefghijk.wav", noise(10), RATE)
    soundfile.write(first / "test" / "other.wav", noise(20), RATE)
    soundfile.write(first / "test" / "silent.wav", np.zeros(RATE), RATE)
    (first / "test" / "copy.wav").write_bytes((first / "train" / "sound0.wav").read_bytes())
    soundfile.write(second / "encoded.ogg", noise(1) * 0.4, RATE)
    soundfile.write(second / "resampled.wav", resample_poly(noise(2), 1, 2), RATE // 2, subtype="PCM_16")
    soundfile.write(second / "abcdefghijk_30.flac", noise(11), RATE)
    soundfile.write(second / "unlike.wav", noise(30), RATE)
    soundfile.write(second / "silence.wav", np.zeros(2 * RATE), RATE)
    (first / "train" / "metadata.csv").write_text(table(first / "train"))
    (first / "test" / "metadata.csv").write_text(table(first / "test"))
    recipe = FolderRecipe()
    return recipe.prepare(first, FolderOptions()), recipe.prepare(second, FolderOptions(split="val"))


def table(folder: Path) -> str:
    return "file_name,text\n" + "".join(f"{path.name},A sound\n" for path in sorted(folder.glob("*.wav")))


def test_two_datasets_share_sources_bytes_and_sounds(datasets: tuple[PreparedDataset, PreparedDataset]) -> None:
    first, second = datasets
    assert sources(second)[0] == "youtube:abcdefghijk"
    assert overlap(first, second) == [
        Match("train/Yabcdefghijk.wav", "train", "abcdefghijk_30.flac", "val", ("source",)),
        Match("train/sound1.wav", "train", "encoded.ogg", "val", ("sound",)),
        Match("train/sound2.wav", "train", "resampled.wav", "val", ("sound",)),
    ]
    assert [match.signs for match in overlap(first, second, sounds=False)] == [("source",)]


def test_the_splits_of_a_dataset_are_compared(
    datasets: tuple[PreparedDataset, PreparedDataset], fusion: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = datasets
    copy = Match("test/copy.wav", "test", "train/sound0.wav", "train", ("bytes", "sound"))
    assert overlap(first) == [copy]
    assert fusion("data", "overlap", str(first.root), "--json", "--gate") == 5
    assert json.loads(capsys.readouterr().out)["matches"] == [json.loads(json.dumps(vars(copy)))]
    assert fusion("data", "overlap", str(first.root), str(second.root), "--no-sounds", "--gate") == 0
    assert "1 pairs of clips" in capsys.readouterr().out
