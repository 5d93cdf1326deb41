"""Datasets by name, their options, default roots, and prepared datasets on disk."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import soundfile
from fusion_core.errors import ConfigError, DataError
from fusion_eval.schemas import ManifestRow
from fusion_train.datasets import base, registry
from fusion_train.datasets.base import PreparedDataset, open_dataset
from fusion_train.datasets.registry import dataset_names, default_root, load_recipe, parse_options, prepare_dataset
from fusion_train.datasets.scenes.options import ScenesOptions
from fusion_train.datasets.verify import verify


def test_every_built_in_dataset_loads() -> None:
    assert {"scenes", "folder"} <= set(dataset_names())
    for name in dataset_names():
        assert load_recipe(name).name == name


@pytest.mark.parametrize(
    ("name", "message"),
    [("scene", r"did you mean 'scenes'\?"), ("zzz", "known are .*folder.*scenes")],
)
def test_unknown_names_are_answered_with_a_suggestion(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_recipe(name)


@pytest.mark.parametrize(
    ("dataset", "values", "message"),
    [
        ("scenes", {"audio_dir": "x"}, "'scenes' has no option 'audio_dir'; the options are seed"),
        ("folder", {"bank": "x"}, "'folder' has no option 'bank'"),
        ("scenes", {"trian": 3}, "did you mean 'train'"),
        ("scenes", {"train": "many"}, "field train"),
        ("scenes", {"train": 0}, "field train"),
        ("scenes", {"minimum_seconds": 9, "maximum_seconds": 7}, "maximum_seconds 7.0 is below minimum_seconds 9.0"),
    ],
)
def test_options_that_a_dataset_does_not_use_are_refused(dataset: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_options(dataset, values)
    assert "\n" not in str(caught.value)


def test_text_values_are_read_and_missing_ones_left_at_their_defaults() -> None:
    options = parse_options("scenes", {"train": "30", "maximum_seconds": "8", "bank": None, "seed": None})
    assert options == ScenesOptions(train=30, maximum_seconds=8.0)


def test_default_roots_keep_other_options_apart() -> None:
    assert default_root("scenes") == default_root("scenes", ScenesOptions()) == Path("data/scenes")
    assert default_root("scenes", ScenesOptions(workers=7)) == Path("data/scenes")
    other = default_root("scenes", ScenesOptions(seed=1))
    assert other.name.startswith("scenes-")
    assert len(other.name) == len("scenes-") + 8
    assert other == default_root("scenes", ScenesOptions(seed=1))
    assert other != default_root("scenes", ScenesOptions(seed=2))


def test_another_package_may_bring_a_dataset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Recipe:
        name = "mine"
        options_type = ScenesOptions

        def identity(self, options: ScenesOptions) -> dict[str, Any]:
            return {}

        def prepare(self, root: Path, options: ScenesOptions) -> PreparedDataset:
            return PreparedDataset("mine", root)

    monkeypatch.setattr(sys.modules[__name__], "Plugin", Recipe, raising=False)
    point = EntryPoint("mine", f"{__name__}:Plugin", registry.DATASETS.group)
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])

    def entry_points(group: str, name: str | None = None) -> list[EntryPoint]:
        return [point] if group == registry.DATASETS.group and name in (None, "mine") else []

    monkeypatch.setattr("fusion_core.registry.entry_points", entry_points)
    assert "mine" in dataset_names()
    assert prepare_dataset("mine", root=tmp_path) == PreparedDataset("mine", tmp_path)
    assert default_root("mine") == Path("data/mine")


def test_missing_and_unfinished_datasets_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist") as caught:
        open_dataset(tmp_path / "nowhere")
    assert caught.value.exit_code == 3
    with pytest.raises(DataError, match=r"has no dataset\.json"):
        open_dataset(tmp_path)


def test_unknown_splits_are_named(small_scenes: PreparedDataset) -> None:
    with pytest.raises(DataError, match="has no split 'dev'; it has train, val, test"):
        small_scenes.rows("dev")


def test_links_out_of_the_root_are_refused(copy_of_scenes: PreparedDataset, tmp_path: Path) -> None:
    row = copy_of_scenes.rows("test")[0]
    inside = copy_of_scenes.audio_path(row)
    (tmp_path / "outside.flac").write_bytes(inside.read_bytes())
    inside.unlink()
    inside.symlink_to(tmp_path / "outside.flac")
    with pytest.raises(DataError, match=f"clip '{row.id}'.*leaves"):
        copy_of_scenes.audio_path(row)
    assert [fault.id for fault in verify(copy_of_scenes.root).faults] == [row.id]


def test_verify_finds_every_kind_of_damage(copy_of_scenes: PreparedDataset) -> None:
    lost, swapped, cut, silent = copy_of_scenes.rows("train")[:4]
    root = copy_of_scenes.root
    (root / lost.path).unlink()
    (root / swapped.path).write_bytes((root / copy_of_scenes.rows("val")[0].path).read_bytes())
    (root / cut.path).write_bytes((root / cut.path).read_bytes()[:5_000])
    (root / silent.path).write_bytes(b"")
    found = {fault.id: fault.reason for fault in verify(root).faults}
    assert set(found) == {lost.id, swapped.id, cut.id, silent.id}
    assert "does not exist" in found[lost.id]
    assert "hash differs" in found[swapped.id]
    assert "empty" in found[silent.id]


def test_verify_finds_a_manifest_that_is_not_the_cards(copy_of_scenes: PreparedDataset) -> None:
    rows = copy_of_scenes.manifest
    path = copy_of_scenes.audio_path(rows[0])
    samples, rate = soundfile.read(path, dtype="int16")
    soundfile.write(path, samples[:-100], rate)
    from fusion_core.files import sha256_file

    base.write_manifest(
        copy_of_scenes.root / base.MANIFEST,
        [rows[0].model_copy(update={"sha256": sha256_file(path)}), *rows[1:]],
    )
    reasons = [fault.reason for fault in verify(copy_of_scenes.root).faults]
    assert len(reasons) == 2
    assert "not the one that dataset.json names" in reasons[0]
    assert "the manifest says" in reasons[1]


def test_a_manifest_cannot_name_a_path_outside() -> None:
    with pytest.raises(ValueError, match="leaves the dataset's root"):
        ManifestRow(id="x", path="../x.wav", split="test", status="ok")


def test_the_command_prepares_scenes_where_it_says(
    tmp_path: Path,
    fusion: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    options = (
        "--set",
        "train=10",
        "--set",
        "val=2",
        "--set",
        "test=2",
        "--set",
        "sample-rate=8000",
        "--set",
        "workers=1",
    )
    assert fusion("data", "prepare", "scenes", "--seed", "3", *options) == 0
    printed = capsys.readouterr()
    assert "Leakage: 0.0% of test graphs" in printed.out
    assert "Agreement of references (templates, not people)" in printed.out
    assert "church bell tolling" in printed.out
    (made,) = (tmp_path / "data").iterdir()
    assert made.name.startswith("scenes-")
    assert f"data/{made.name}" in printed.err
    assert fusion("data", "prepare", "scenes", "--seed", "3", *options, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["splits"]["train"] == {"ok": 10, "missing": 0, "corrupt": 0, "too_short": 0}
    assert result["statistics"]["splits"]["test"]["held_out"] == 1
    assert fusion("data", "verify", f"data/{made.name}") == 0
    assert "14 clips checked, 0 faults" in capsys.readouterr().out
    (made / "audio" / "train" / "train-00003.flac").unlink()
    assert fusion("data", "verify", str(made)) == 3
    assert "the file does not exist" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("prepare", "scenes", "--audio-dir", "x"), 2, "has no option 'audio_dir'"),
        (("prepare", "scenes", "--set", "train"), 2, "write --set key=value"),
        (("prepare", "scenes", "--bank", "nowhere"), 3, "manifest.csv does not exist"),
        (("prepare", "scnes"), 2, "did you mean 'scenes'?"),
        (("verify", "scenes"), 3, "does not exist"),
    ],
)
def test_wrong_use_is_one_sentence(
    arguments: tuple[str, ...],
    code: int,
    message: str,
    tmp_path: Path,
    fusion: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert fusion("data", *arguments) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert printed.err.count("\n") == 1
