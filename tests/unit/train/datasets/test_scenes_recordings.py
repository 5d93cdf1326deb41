"""Banks of recordings: splits without a shared recording, crops, single shots, faults."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from fusion_core.errors import DataError
from fusion_train.datasets.scenes.options import ScenesOptions
from fusion_train.datasets.scenes.recipe import ScenesRecipe
from fusion_train.datasets.scenes.recorded_bank import LONGEST, RecordedBank, crop, load_bank
from fusion_train.datasets.scenes.recordings import Recording, assign_splits, read_bank
from fusion_train.datasets.scenes.vocabulary import known_sounds, sound
from fusion_train.datasets.verify import verify
from hypothesis import given
from hypothesis import strategies as st

RATE = 8_000
CLASSES = ("rain", "dog barking", "siren", "footsteps", "church bell tolling", "glass breaking", "kettle whistling")


def recording(name: str, sound_class: str, split: str | None) -> Recording:
    return Recording(f"{name}.wav", sound_class, name, split, "CC0", "", "", "")  # type: ignore[arg-type]


def burst(seconds: float, generator: np.random.Generator) -> np.ndarray:
    samples = int(seconds * RATE)
    return generator.uniform(-1, 1, samples) * np.exp(-np.arange(samples) / (0.2 * samples))


@pytest.fixture
def bank(tmp_path: Path) -> Path:
    """Six recordings of each of seven classes; glass breaking has two alone, and one file of the siren is no audio."""
    folder, rows = tmp_path / "bank", []
    folder.mkdir()
    generator = np.random.default_rng(0)
    for name in CLASSES:
        for number in range(2 if name == "glass breaking" else 6):
            path = f"{name.replace(' ', '_')}-{number}.wav"
            shot = sound(name).kind == "shot"
            tone = burst(0.4, generator) if shot else generator.uniform(-1, 1, 2 * RATE)
            soundfile.write(folder / path, 0.5 * tone, RATE)
            split = ("train", "train", "train", "val", "test", "")[number] if name != "kettle whistling" else ""
            rows.append((path, name, f"{name}/{number}", split, "CC-BY-4.0" if number else "CC0-1.0", "Somebody"))
    (folder / "siren-1.wav").write_text("no audio")
    write_list(folder, rows)
    return folder


def write_list(folder: Path, rows: list[tuple[str, ...]]) -> None:
    with (folder / "manifest.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("path", "sound_class", "recording", "split", "licence", "author"), *rows])


def load(folder: Path, tmp_path: Path, minimum: int = 4) -> RecordedBank:
    return load_bank(folder, tmp_path / "store" / "samples.npy", RATE, minimum)


@given(
    st.lists(
        st.tuples(st.integers(0, 15), st.sampled_from("abc"), st.sampled_from([None, "train", "val", "test"])),
        max_size=60,
    ),
    st.integers(2, 5),
)
def test_no_recording_is_in_two_splits_whatever_the_bank(rows: list[tuple[int, str, str | None]], minimum: int) -> None:
    splits: dict[int, str | None] = {}
    for number, _, split in rows:
        splits.setdefault(number, split)
    items = [recording(str(number), name, splits[number]) for number, name, _ in rows]
    given_splits = {item.recording: item.split for item in items}
    found: dict[str, set[str]] = defaultdict(set)
    for name, groups in assign_splits(items, minimum).items():
        assert len(groups) >= minimum
        assert {"train", "test"} <= set(groups.values())
        assert set(groups) == {item.recording for item in items if item.sound_class == name}
        for group, split in groups.items():
            found[group].add(split)
            if given_splits[group] == "test":
                assert split == "test"
    assert all(len(split) == 1 for split in found.values())


def test_the_banks_own_splits_stand_where_they_suffice() -> None:
    items = [recording(f"{number}", "rain", split) for number, split in enumerate(["train"] * 4 + ["val", "test"])]
    assert assign_splits(items, 3) == {"rain": {item.recording: item.split for item in items}}


def test_an_empty_test_split_is_filled_from_val_first() -> None:
    items = [recording(f"{number:02d}", "rain", "train" if number < 24 else "val") for number in range(32)]
    splits = assign_splits(items, 3)["rain"]
    assert [splits[item.recording] for item in items[:24]] == ["train"] * 24
    assert sorted(splits[item.recording] for item in items[24:]) == ["test"] * 4 + ["val"] * 4


def test_a_class_without_recordings_to_divide_is_left_out() -> None:
    assert assign_splits([recording("a", "rain", "train"), recording("a", "rain", "train")], 2) == {}
    shared = [recording("a", name, None) for name in ("rain", "siren")]
    assert assign_splits([*shared, recording("b", "rain", None), recording("b", "siren", None)], 2) == {}


def test_a_recording_in_two_splits_is_refused() -> None:
    with pytest.raises(DataError, match="'a' is in train and test"):
        assign_splits([recording("a", "rain", "train"), recording("a", "rain", "test")], 2)


def test_a_bank_is_read_cropped_and_divided(bank: Path, tmp_path: Path) -> None:
    loaded = load(bank, tmp_path)
    assert set(loaded.classes("train")) == set(CLASSES) - {"glass breaking"}
    assert set(loaded.left_out) == {"siren-1.wav"}
    assert "does not decode" in loaded.left_out["siren-1.wav"]
    assert loaded.statistics()["dog barking"] == {"train": 4, "val": 1, "test": 1}
    generator = np.random.default_rng(0)
    for name in loaded.classes("test"):
        source = loaded.draw(name, "foreground", "test", generator)
        assert source.details["licence"] in ("CC0-1.0", "CC-BY-4.0")
        assert source.countable == (sound(name).kind == "shot")
        waveform = loaded.render(source, 3 * RATE, "test", generator)
        assert len(waveform) == (round((source.seconds or 0) * RATE) if source.countable else 3 * RATE)
        assert 0.05 < np.abs(waveform).max() <= 1


def test_scenes_of_recordings_share_none_between_splits(bank: Path, tmp_path: Path) -> None:
    import json

    options = ScenesOptions(train=24, val=4, test=6, sample_rate=RATE, bank=bank, workers=1)
    dataset = ScenesRecipe().prepare(tmp_path / "root", options)
    used: dict[str, set[str]] = defaultdict(set)
    for clip, sounds in json.loads((dataset.root / "sources.json").read_text()).items():
        for source in sounds:
            used[source["recording"]].add(clip.split("-")[0])
    assert all(len(splits) == 1 for splits in used.values())
    assert dataset.card.statistics["leakage"]["graphs"] == 0
    assert verify(dataset.root).ok
    assert {row.licence for row in dataset.manifest} <= {"CC0-1.0", "CC-BY-4.0", "CC-BY-4.0 AND CC0-1.0"}
    assert not (dataset.root / ".bank").exists()
    listed = list(csv.DictReader(io.StringIO((dataset.root / "bank.csv").read_text())))
    assert {row["split"] for row in listed} == {"train", "val", "test"}
    assert all(used[row["recording"]] <= {row["split"]} for row in listed)
    elsewhere = bank.rename(tmp_path / "moved")
    moved = options.model_copy(update={"bank": elsewhere})
    assert ScenesRecipe().identity(moved) == {**ScenesRecipe().identity(moved), "bank": dataset.card.options["bank"]}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("../outside.wav", "rain", "x", "train", "", ""), r"line 2: the path '../outside.wav' leaves the bank"),
        (("/etc/passwd", "rain", "x", "train", "", ""), "leaves the bank"),
        (("C:\\sound.wav", "rain", "x", "train", "", ""), "leaves the bank"),
        (("rain.wav", "rain", "x", "dev", "", ""), "split 'dev' is none of train, val, test"),
    ],
)
def test_a_malformed_list_is_refused_by_line(tmp_path: Path, row: tuple[str, ...], message: str) -> None:
    write_list(tmp_path, [row])
    with pytest.raises(DataError, match=message) as caught:
        read_bank(tmp_path)
    assert caught.value.exit_code == 3


def test_a_bank_without_a_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"manifest\.csv does not exist.*--bank"):
        read_bank(tmp_path)
    (tmp_path / "manifest.csv").write_text("file,label\na,b\n")
    with pytest.raises(DataError, match="needs the columns path and sound_class"):
        read_bank(tmp_path)


def test_a_link_out_of_the_bank_is_not_followed(bank: Path, tmp_path: Path) -> None:
    (bank / "rain-0.wav").rename(tmp_path / "outside.wav")
    (bank / "rain-0.wav").symlink_to(tmp_path / "outside.wav")
    assert "leaves the bank" in load(bank, tmp_path).left_out["rain-0.wav"]


def test_silence_is_cut_off_and_the_loudest_part_kept() -> None:
    generator = np.random.default_rng(0)
    quiet, loud = 0.1 * generator.standard_normal(5 * RATE), generator.standard_normal(4 * RATE)
    waveform = np.concatenate([np.zeros(2 * RATE), quiet, loud, quiet, np.zeros(RATE)]).astype(np.float32)
    cropped, single = crop(waveform, RATE, "sustained")
    assert not single
    assert len(cropped) == LONGEST["sustained"] * RATE
    assert cropped.std() == pytest.approx(loud.std(), rel=0.02)
    whole, _ = crop(waveform, RATE, "background")
    assert len(whole) == pytest.approx(14 * RATE, abs=0.05 * RATE)


@pytest.mark.parametrize(("bursts", "expected"), [(1, True), (2, False), (4, False)])
def test_single_shots_are_told_from_several(bursts: int, expected: bool) -> None:
    generator = np.random.default_rng(0)
    pieces = [np.concatenate([burst(0.15, generator), np.zeros(RATE // 5)]) for _ in range(bursts)]
    waveform: Any = np.concatenate([np.zeros(RATE), *pieces, np.zeros(RATE)]).astype(np.float32)
    assert crop(waveform, RATE, "shot")[1] is expected
    assert crop(waveform, RATE, "sustained")[1] is False


def test_short_steps_are_repeated_with_pauses(bank: Path, tmp_path: Path) -> None:
    for number in range(6):
        soundfile.write(bank / f"footsteps-{number}.wav", burst(0.2, np.random.default_rng(number)), RATE)
    loaded = load(bank, tmp_path)
    generator = np.random.default_rng(0)
    source = loaded.draw("footsteps", "foreground", "train", generator)
    assert source.seconds is None
    waveform = loaded.render(source, 3 * RATE, "train", generator)
    silent = np.abs(waveform).reshape(-1, 100).max(axis=1) == 0
    assert 0.2 < silent.mean() < 0.8
    assert int((np.diff(silent.astype(int)) == 1).sum()) >= 5


@pytest.fixture
def soundbank(shared: Path) -> Path:
    return shared / "data" / "soundbank"


@pytest.mark.shared
def test_the_shared_bank_is_divided_without_overlap(soundbank: Path) -> None:
    items = read_bank(soundbank)
    usable = assign_splits(items, ScenesOptions().minimum_recordings)
    assert len(usable) >= 20
    assert set(usable) <= set(known_sounds())
    own = {item.recording: item.split for item in items}
    found: dict[str, set[str]] = defaultdict(set)
    for groups in usable.values():
        for group, split in groups.items():
            found[group].add(split)
            assert split == own[group] or (own[group], split) in {("val", "test"), ("train", "val"), ("train", "test")}
    assert all(len(splits) == 1 for splits in found.values())


@pytest.mark.shared
@pytest.mark.slow
def test_scenes_of_the_shared_bank(soundbank: Path, tmp_path: Path, options: Callable[..., ScenesOptions]) -> None:
    dataset = ScenesRecipe().prepare(tmp_path / "root", options(train=200, bank=soundbank, sample_rate=16_000))
    assert verify(dataset.root).ok
    assert dataset.card.statistics["leakage"]["graphs"] == 0
    assert len(dataset.card.statistics["bank"]) >= 20
