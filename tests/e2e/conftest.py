"""Folders shaped like the corpora that people have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

CLIPS = {"train": 12, "val": 4, "test": 7}
WITHOUT_AUDIO = {"test0000003": None, "test0000005": b"no sound", "train000007": None, "val00000002": None}


@pytest.fixture(scope="session")
def write_audiocaps() -> Callable[[Path, Path], None]:
    """Write tables like those of AudioCaps into one folder and the audio into another: a few clips, some of them missing."""

    def write(tables: Path, audio: Path) -> None:
        tables.mkdir(parents=True)
        for split, count in CLIPS.items():
            lines = ["audiocap_id,youtube_id,start_time,caption"]
            for number in range(count):
                clip = f"{split}{number:0{11 - len(split)}d}"
                captions = 1 if split == "train" else 5
                lines += [f"{number * 5 + k},{clip},30,A sound of kind {number % 3} and {k}" for k in range(captions)]
                path = audio / split / f"Y{clip}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                if clip not in WITHOUT_AUDIO:
                    soundfile.write(path, np.random.default_rng(number).uniform(-0.5, 0.5, 16_000), 16_000)
                elif (content := WITHOUT_AUDIO[clip]) is not None:
                    path.write_bytes(content)
            (tables / f"{split}.csv").write_text("\n".join(lines))

    return write


@pytest.fixture(scope="session")
def write_clotho() -> Callable[[Path, Path], None]:
    """Write tables and audio like those of Clotho, with file names as its authors wrote them."""

    def write(tables: Path, audio: Path) -> None:
        tables.mkdir(parents=True)
        for split, names in {
            "development": ["Wind, in the trees.wav", "a &amp; b.wav"],
            "validation": [" Bus(1).wav"],
            "evaluation": ["Été.wav", "DOOR.wav", "gone.wav"],
        }.items():
            rows = [",".join(["file_name", *(f"caption_{n}" for n in range(1, 6))])]
            for number, name in enumerate(names):
                rows.append(
                    ",".join(f'"{text}"' for text in (name, *(f"A sound, kind {number} {k}" for k in range(5))))
                )
                (audio / split).mkdir(parents=True, exist_ok=True)
                if name != "gone.wav":
                    sound = np.random.default_rng(number).uniform(-0.5, 0.5, 16_000)
                    soundfile.write(audio / split / name.replace("&amp;", "&"), sound, 16_000)
            (tables / f"clotho_captions_{split}.csv").write_text("\n".join(rows), encoding="utf-8")

    return write
