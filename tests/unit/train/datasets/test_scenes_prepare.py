"""Preparing scenes: the same bytes whatever the workers, going on after a kill, refusing what does not belong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from fusion_core.errors import ConfigError, DataError
from fusion_train.datasets.base import PreparedDataset, open_dataset
from fusion_train.datasets.scenes import make as making
from fusion_train.datasets.scenes import render as rendering
from fusion_train.datasets.scenes.bank import VOICES
from fusion_train.datasets.scenes.compose import BACKGROUND_RMS, Composer
from fusion_train.datasets.scenes.graph import PlannedEvent, Scene, Source
from fusion_train.datasets.scenes.options import SPLITS, ScenesOptions
from fusion_train.datasets.scenes.recipe import ScenesRecipe
from fusion_train.datasets.scenes.render import Renderer
from fusion_train.datasets.verify import verify

Options = Callable[..., ScenesOptions]


def files(root: Path) -> dict[str, bytes]:
    """Return every file of a dataset that depends on its options alone."""
    kept = [path for path in sorted(root.rglob("*")) if path.is_file() and path.name not in (".lock", "prepare.jsonl")]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in kept}


def test_a_prepared_dataset_is_complete(small_scenes: PreparedDataset) -> None:
    dataset = open_dataset(small_scenes.root)
    assert dataset.name == "scenes"
    assert dataset.splits == list(SPLITS)
    for split, count in (("train", 20), ("val", 4), ("test", 8)):
        rows = dataset.rows(split)
        references, events = dataset.references(split), dataset.events(split)
        assert events is not None
        ids = [row.id for row in rows]
        assert len(rows) == count
        assert [item.id for item in references.items] == [item.id for item in events.items] == ids
        assert all(len(item.references) == 5 for item in references.items)
        for row in rows:
            info = soundfile.info(dataset.audio_path(row))
            assert (info.samplerate, info.channels, info.frames) == (8_000, 1, round((row.seconds or 0) * 8_000))
            assert row.licence == "CC0-1.0"
    assert dataset.card.statistics["reference_origin"] == "template"
    assert verify(small_scenes.root).ok


def test_clips_stay_below_full_scale_and_are_never_silent(small_scenes: PreparedDataset) -> None:
    for row in small_scenes.manifest:
        samples, _ = soundfile.read(small_scenes.audio_path(row))
        assert 0.49 < np.abs(samples).max() < 0.9
        frames = samples[: len(samples) // 800 * 800].reshape(-1, 800)
        assert (frames.std(axis=1) > 0).all()


def test_no_parameter_value_is_in_two_splits(small_scenes: PreparedDataset) -> None:
    sources = json.loads((small_scenes.root / "sources.json").read_text())
    values: dict[str, set[tuple[str, str, float]]] = {split: set() for split in SPLITS}
    for clip, sounds in sources.items():
        for source in sounds:
            name = source.pop("sound_class")
            assert set(source) == {parameter.name for parameter in VOICES[name].parameters}
            values[clip.split("-")[0]] |= {(name, parameter, value) for parameter, value in source.items()}
    for first, second in combinations(SPLITS, 2):
        assert not values[first] & values[second]


def test_the_number_of_workers_changes_no_byte(small_scenes: PreparedDataset, tmp_path: Path, options: Options) -> None:
    other = ScenesRecipe().prepare(tmp_path / "parallel", options(workers=2))
    assert other.card.manifest_sha256 == small_scenes.card.manifest_sha256
    first, second = files(small_scenes.root), files(other.root)
    assert first.keys() == second.keys()
    different = [name for name in first if first[name] != second[name]]
    assert different == ["dataset.json"]  # it records the number of workers, which the identity leaves out
    assert other.card.options_sha256 == small_scenes.card.options_sha256


def test_another_seed_gives_other_bytes(small_scenes: PreparedDataset, tmp_path: Path, options: Options) -> None:
    other = ScenesRecipe().prepare(tmp_path / "seed", options(seed=1))
    hashes = {row.sha256 for row in small_scenes.manifest}
    assert not hashes & {row.sha256 for row in other.manifest}


def test_a_finished_dataset_is_left_alone(
    copy_of_scenes: PreparedDataset, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("prepared again")

    monkeypatch.setattr(making, "make", never)
    before = files(copy_of_scenes.root)
    again = ScenesRecipe().prepare(copy_of_scenes.root, options(workers=2))
    assert again.card.manifest_sha256 == copy_of_scenes.card.manifest_sha256
    assert files(copy_of_scenes.root) == before


def test_an_interrupted_preparation_goes_on(
    small_scenes: PreparedDataset, tmp_path: Path, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    rendered: list[str] = []
    whole = Composer.render

    def render(self: Composer, scene: Scene) -> Any:
        if len(rendered) == 7:
            raise KeyboardInterrupt
        rendered.append(scene.id)
        return whole(self, scene)

    monkeypatch.setattr(Composer, "render", render)
    with pytest.raises(KeyboardInterrupt):
        ScenesRecipe().prepare(root, options())
    assert not (root / "manifest.parquet").exists()
    assert not (root / "dataset.json").exists()
    finished = sorted(root.rglob("*.flac"))
    assert len(finished) == 7
    finished[3].write_bytes(finished[3].read_bytes()[:1000])  # as a power cut might leave it
    with pytest.raises(ConfigError, match="made with other options"):
        ScenesRecipe().prepare(root, options(seed=5))

    rendered.clear()
    monkeypatch.setattr(Composer, "render", lambda self, scene: (rendered.append(scene.id), whole(self, scene))[1])
    ScenesRecipe().prepare(root, options())
    assert len(rendered) == 32 - 6
    assert files(root) == files(small_scenes.root)


@pytest.mark.parametrize("workers", [1, 2])
def test_sigkill_leaves_a_dataset_that_goes_on_and_no_process(
    workers: int, small_scenes: PreparedDataset, tmp_path: Path, options: Options
) -> None:
    root = tmp_path / "root"
    script = tmp_path / "script.py"
    script.write_text(
        "import sys; from pathlib import Path\n"
        "from fusion_train.datasets.scenes.options import ScenesOptions\n"
        "from fusion_train.datasets.scenes.recipe import ScenesRecipe\n"
        "if __name__ == '__main__':\n"
        "    options = ScenesOptions.model_validate_json(sys.argv[2])\n"
        "    ScenesRecipe().prepare(Path(sys.argv[1]), options)\n"
    )
    arguments = [sys.executable, str(script), str(root), options(workers=workers).model_dump_json()]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE)
    limit = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < limit and len(list(root.rglob("*.flac"))) < 3:
        time.sleep(0.002)
    process.kill()
    process.communicate(timeout=30)  # ends when the last process that writes to the pipe has ended
    assert len(list(root.rglob("*.flac"))) >= 3
    ScenesRecipe().prepare(root, options())
    assert files(root) == files(small_scenes.root)
    assert verify(root).ok


def test_a_worker_that_dies_is_told_in_one_sentence(
    tmp_path: Path, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any, **__: Any) -> None:
        raise BrokenProcessPool

    monkeypatch.setattr(rendering, "track", die)
    with pytest.raises(DataError, match="run again with fewer workers"):
        ScenesRecipe().prepare(tmp_path / "root", options(workers=2))


def test_a_lost_clip_is_made_again(copy_of_scenes: PreparedDataset, options: Options) -> None:
    before = files(copy_of_scenes.root)
    copy_of_scenes.audio_path(copy_of_scenes.manifest[2]).unlink()
    ScenesRecipe().prepare(copy_of_scenes.root, options())
    assert files(copy_of_scenes.root) == before


def test_other_options_in_the_same_folder_are_refused(copy_of_scenes: PreparedDataset, options: Options) -> None:
    with pytest.raises(ConfigError, match=r"train 20 there, 21 here.*--root") as caught:
        ScenesRecipe().prepare(copy_of_scenes.root, options(train=21))
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_a_full_disk_leaves_no_half_written_clip(
    small_scenes: PreparedDataset, tmp_path: Path, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = 0
    real = os.fsync

    def fsync(descriptor: int) -> None:
        nonlocal written
        written += 1
        if written == 10:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="No space left"):
        ScenesRecipe().prepare(tmp_path / "root", options())
    monkeypatch.setattr(os, "fsync", real)
    ScenesRecipe().prepare(tmp_path / "root", options())
    assert files(tmp_path / "root") == files(small_scenes.root)


class Tones:
    """A bank of steady sines, so that levels can be measured."""

    def render(self, source: Source, samples: int, split: str, generator: np.random.Generator) -> Any:
        return np.sin(2 * np.pi * source.details["pitch"] * np.arange(samples) / 16_000).astype(np.float32)


@pytest.mark.parametrize("level", [6.0, 12.0, 18.0])
def test_events_stand_at_their_signal_to_noise_ratio(level: float) -> None:
    def event(pitch: float, role: Any, onset: float, offset: float, decibels: float) -> PlannedEvent:
        return PlannedEvent(Source("siren", None, 0.5, False, {"pitch": pitch}), role, onset, offset, decibels)

    events = (event(500.0, "background", 0.0, 6.0, 0.0), event(2_000.0, "foreground", 2.0, 4.0, level))
    scene = Scene("train-00000", "train", 0, 6.0, events, "seen")
    clip = Composer(Tones(), 16_000, seed=0).render(scene).astype(float)  # type: ignore[arg-type]
    spectrum = np.abs(np.fft.rfft(clip[40_000:56_000]))  # one second, one bin a hertz
    assert 20 * np.log10(spectrum[2_000] / spectrum[500]) == pytest.approx(level, abs=0.3)
    assert np.abs(clip[:31_000]).max() < np.abs(clip[32_000:64_000]).max()
    assert BACKGROUND_RMS < 0.1


def test_a_renderer_travels_without_its_noise(tmp_path: Path, small_scenes: PreparedDataset) -> None:
    import pickle

    from fusion_train.datasets.scenes.bank import SynthesisedBank

    assert len(pickle.dumps(Renderer(tmp_path, SynthesisedBank(8_000, 0), 8_000, 0))) < 2_000
