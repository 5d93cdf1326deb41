"""The feature cache: what it gives, that it is the same however it was filled, and that faults leave good files."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from filelock import FileLock
from fusion_core.errors import ConfigError, DataError
from fusion_encoders import feature_store, workers
from fusion_encoders.audio import load_audio
from fusion_encoders.cache import FeatureCache, FillReport
from fusion_encoders.logmel import LogMelEncoder

Clips = list[tuple[str, Path, str]]
MakeClips = Callable[[int], Clips]


class CountingEncoder(LogMelEncoder):
    """Counts the clips that it encodes."""

    encoded = 0

    def encode(self, waveform_S: torch.Tensor) -> torch.Tensor:
        self.encoded += 1
        return super().encode(waveform_S)


def contents(cache: FeatureCache) -> dict[str, str]:
    """Return the hashes of the files that hold the features."""
    names = ("encoder.json", "frames.f16", "index.bin")
    return {name: hashlib.sha256((cache.folder / name).read_bytes()).hexdigest() for name in names}


@pytest.fixture
def encoder() -> LogMelEncoder:
    return LogMelEncoder(bands=8, patch_frames=4)


def test_a_filled_cache_gives_what_the_encoder_gives(
    tmp_path: Path, make_clips: MakeClips, encoder: LogMelEncoder
) -> None:
    clips = make_clips(5)
    cache = FeatureCache(encoder, tmp_path / "features")
    assert not cache.has(clips[0][2])
    assert cache.fill(clips) == FillReport(encoded=5)
    for _, path, sha256 in clips:
        expected = encoder.encode(load_audio(path, 16_000)).to(torch.float16).numpy()
        assert cache.has(sha256)
        frames = cache.get(sha256)
        assert frames.dtype == np.float16
        assert np.array_equal(frames, expected)
        assert not frames.flags.writeable
    assert len(cache) == 5


def test_a_second_fill_does_nothing(tmp_path: Path, make_clips: MakeClips) -> None:
    clips = make_clips(4)
    encoder = CountingEncoder(bands=8, patch_frames=4)
    FeatureCache(encoder, tmp_path / "features").fill(clips)
    again = FeatureCache(encoder, tmp_path / "features")
    before = {file: file.stat().st_mtime_ns for file in again.folder.iterdir()}
    assert again.fill(clips) == FillReport(cached=4)
    assert encoder.encoded == 4
    assert {file: file.stat().st_mtime_ns for file in again.folder.iterdir()} == before


def test_clips_are_added_to_those_that_are_there(tmp_path: Path, make_clips: MakeClips) -> None:
    clips = make_clips(6)
    encoder = CountingEncoder(bands=8, patch_frames=4)
    cache = FeatureCache(encoder, tmp_path / "features")
    cache.fill(clips[:4])
    assert cache.fill(clips) == FillReport(encoded=2, cached=4)
    assert encoder.encoded == 6


def test_the_same_bytes_under_two_ids_are_encoded_once(tmp_path: Path, make_clips: MakeClips) -> None:
    (_, path, sha256), *_ = make_clips(1)
    copy = path.with_name("copy.wav")
    shutil.copy(path, copy)
    encoder = CountingEncoder(bands=8, patch_frames=4)
    cache = FeatureCache(encoder, tmp_path / "features")
    assert cache.fill([("one", path, sha256), ("two", copy, sha256)]) == FillReport(encoded=1, cached=1)
    assert encoder.encoded == 1


def test_a_lost_copy_does_not_lose_the_other(tmp_path: Path, make_clips: MakeClips, encoder: LogMelEncoder) -> None:
    (_, path, sha256), *_ = make_clips(1)
    report = FeatureCache(encoder, tmp_path / "features").fill(
        [("lost", path.with_name("lost.wav"), sha256), ("there", path, sha256)]
    )
    assert report == FillReport(encoded=1, quarantined={"lost": "the file does not exist"})


def test_encoders_of_other_settings_do_not_share_features(tmp_path: Path, make_clips: MakeClips) -> None:
    clips = make_clips(2)
    one, other = (FeatureCache(LogMelEncoder(bands, 4), tmp_path / "features") for bands in (8, 16))
    one.fill(clips)
    assert one.folder != other.folder
    assert not other.has(clips[0][2])


def test_an_unknown_clip_and_a_bad_number_of_workers_are_refused(tmp_path: Path, encoder: LogMelEncoder) -> None:
    cache = FeatureCache(encoder, tmp_path / "features")
    with pytest.raises(DataError, match="encode the dataset first"):
        cache.get("0" * 64)
    with pytest.raises(ConfigError, match="1 or more, not 0"):
        cache.fill([], workers=0)
    assert not cache.folder.exists()


def test_bad_files_are_quarantined_and_the_rest_goes_on(
    tmp_path: Path, make_clips: MakeClips, encoder: LogMelEncoder
) -> None:
    clips = make_clips(3)
    folder = clips[0][1].parent
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.wav").write_text("no sound")
    samples = np.zeros(16_000, np.float32)
    samples[5] = np.nan
    soundfile.write(folder / "nan.wav", samples, 16_000, subtype="FLOAT")
    soundfile.write(folder / "zero.wav", samples[:0], 16_000)
    soundfile.write(folder / "studio.wav", np.zeros((9_600, 7), np.float32), 96_000)
    soundfile.write(folder / "8bit.wav", np.zeros(8_000, np.float32), 8_000, subtype="PCM_U8")
    more = [
        (name, folder / f"{name}.wav", hashlib.sha256((folder / f"{name}.wav").read_bytes()).hexdigest())
        for name in ("empty", "text", "nan", "zero", "studio", "8bit")
    ]
    cache = FeatureCache(encoder, tmp_path / "features")
    report = cache.fill([more[0], clips[0], *more[1:], ("absent", folder / "absent.wav", "a" * 64), *clips[1:]])
    assert report.encoded == 5
    assert set(report.quarantined) == {"empty", "text", "nan", "zero", "absent"}
    assert "0 bytes" in report.quarantined["empty"]
    journal = [json.loads(line) for line in (cache.folder / "journal.jsonl").read_text().splitlines()]
    written = {line["id"]: line["reason"] for line in journal if line["event"] == "quarantined"}
    assert written == report.quarantined
    again = cache.fill([*clips, *more])
    assert (again.encoded, again.cached, len(again.quarantined)) == (0, 5, 4)


def test_a_file_that_changed_since_the_manifest_is_quarantined(
    tmp_path: Path, make_clips: MakeClips, encoder: LogMelEncoder
) -> None:
    (identity, path, _), *_ = make_clips(1)
    report = FeatureCache(encoder, tmp_path / "features").fill([(identity, path, "b" * 64)])
    assert "has changed" in report.quarantined[identity]


def test_features_that_overflow_float16_are_quarantined(tmp_path: Path, make_clips: MakeClips) -> None:
    class Loud(LogMelEncoder):
        name = "loud"

        def encode(self, waveform_S: torch.Tensor) -> torch.Tensor:
            return super().encode(waveform_S) * 1e6

    report = FeatureCache(Loud(8, 4), tmp_path / "features").fill(make_clips(1))
    assert "not finite" in report.quarantined["clip-0"]


def test_the_bytes_do_not_depend_on_how_many_processes_encode(
    tmp_path: Path, make_clips: MakeClips, encoder: LogMelEncoder
) -> None:
    clips = make_clips(24)
    alone = FeatureCache(encoder, tmp_path / "alone")
    pool = FeatureCache(encoder, tmp_path / "pool")
    one_by_one = FeatureCache(encoder, tmp_path / "one-by-one")
    alone.fill(clips, workers=1)
    bad = ("bad", tmp_path / "bad.wav", "c" * 64)
    assert pool.fill([bad, *clips], workers=3).encoded == 24
    for clip in clips:
        one_by_one.fill([clip])
    assert contents(pool) == contents(alone) == contents(one_by_one)


def test_a_pool_is_worth_its_start_only_for_long_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    assert workers.default_workers(2.0) == 1
    assert workers.default_workers(60.0) == 4
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert workers.default_workers(60.0) == workers.MOST_WORKERS
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert workers.default_workers(600.0) == 1


@pytest.mark.parametrize("failing_write", range(6))
def test_a_full_disk_leaves_the_last_good_state(
    tmp_path: Path,
    make_clips: MakeClips,
    encoder: LogMelEncoder,
    monkeypatch: pytest.MonkeyPatch,
    failing_write: int,
) -> None:
    """With commits every two clips the writes are frames, frames, records, and so on; one of them fails half way."""
    clips = make_clips(5)
    unbroken = FeatureCache(encoder, tmp_path / "unbroken")
    unbroken.fill(clips)
    monkeypatch.setattr(feature_store, "_COMMIT_CLIPS", 2)
    whole_write = feature_store.write_all
    calls = iter(range(100))

    def full(file: int, data: bytes) -> None:
        if next(calls) == failing_write:
            os.write(file, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        whole_write(file, data)

    monkeypatch.setattr(feature_store, "write_all", full)
    cache = FeatureCache(encoder, tmp_path / "features")
    with pytest.raises(DataError, match="No space left on device") as caught:
        cache.fill(clips)
    assert "\n" not in str(caught.value)
    committed = 2 * (failing_write // 3)
    assert len(cache) == committed
    assert (cache.folder / "index.bin").stat().st_size == committed * feature_store._RECORD_BYTES
    assert [cache.has(sha256) for *_, sha256 in clips] == [True] * committed + [False] * (5 - committed)
    monkeypatch.setattr(feature_store, "write_all", whole_write)
    assert FeatureCache(encoder, tmp_path / "features").fill(clips) == FillReport(5 - committed, committed)
    assert contents(cache) == contents(unbroken)


@pytest.mark.parametrize("what", ["folder", "journal"])
def test_a_folder_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, make_clips: MakeClips, encoder: LogMelEncoder, what: str
) -> None:
    cache = FeatureCache(encoder, tmp_path / "features")
    if what == "folder":
        (tmp_path / "features").write_text("a file where the folder should be")
    else:
        (cache.folder / "journal.jsonl").mkdir(parents=True)
    with pytest.raises(DataError, match="features cannot be written"):
        cache.fill(make_clips(1))


@pytest.mark.parametrize("damage", ["half a record", "zeros", "a flipped bit", "frames cut", "frames too long"])
def test_a_damaged_tail_is_dropped_and_filled_again(
    tmp_path: Path, make_clips: MakeClips, encoder: LogMelEncoder, damage: str
) -> None:
    clips = make_clips(6)
    cache = FeatureCache(encoder, tmp_path / "features")
    cache.fill(clips)
    good, last_but_one = contents(cache), cache.get(clips[4][2]).copy()
    index, frames = cache.folder / "index.bin", cache.folder / "frames.f16"
    content = bytearray(index.read_bytes())
    if damage == "half a record":
        index.write_bytes(content[:-20])
    elif damage == "zeros":
        index.write_bytes(content[: -feature_store._RECORD_BYTES] + bytes(feature_store._RECORD_BYTES))
    elif damage == "a flipped bit":
        content[-30] ^= 1
        index.write_bytes(content)
    elif damage == "frames cut":
        frames.write_bytes(frames.read_bytes()[:-3])
    else:
        frames.write_bytes(frames.read_bytes() + b"leftover of a killed writer")
        index.write_bytes(content + b"leftover")
    reopened = FeatureCache(encoder, tmp_path / "features")
    kept = 6 if damage == "frames too long" else 5
    assert len(reopened) == kept
    assert np.array_equal(reopened.get(clips[4][2]), last_but_one)
    if kept < 6:
        assert reopened.fill(clips) == FillReport(6 - kept, kept)
        assert contents(reopened) == good


def test_frames_damaged_on_the_disk_are_not_given_out(
    tmp_path: Path, make_clips: MakeClips, encoder: LogMelEncoder
) -> None:
    clips = make_clips(2)
    cache = FeatureCache(encoder, tmp_path / "features")
    cache.fill(clips)
    frames = cache.folder / "frames.f16"
    content = bytearray(frames.read_bytes())
    content[10] ^= 1
    frames.write_bytes(content)
    damaged = FeatureCache(encoder, tmp_path / "features")
    with pytest.raises(DataError, match="is damaged at clip"):
        damaged.get(clips[0][2])
    damaged.get(clips[1][2])


def test_frames_removed_under_a_reader_are_one_sentence(
    tmp_path: Path, make_clips: MakeClips, encoder: LogMelEncoder
) -> None:
    clips = make_clips(2)
    cache = FeatureCache(encoder, tmp_path / "features")
    cache.fill(clips)
    (cache.folder / "frames.f16").unlink()
    with pytest.raises(DataError, match="cut or removed"):
        cache.get(clips[0][2])
    assert FeatureCache(encoder, tmp_path / "features").fill(clips) == FillReport(encoded=2)


def test_a_folder_of_another_encoder_is_refused(tmp_path: Path, make_clips: MakeClips, encoder: LogMelEncoder) -> None:
    cache = FeatureCache(encoder, tmp_path / "features")
    cache.fill(make_clips(1))
    card = json.loads((cache.folder / "encoder.json").read_text())
    assert card["fingerprint"] == encoder.fingerprint()
    (cache.folder / "encoder.json").write_text(json.dumps(card | {"width": 7}))
    with pytest.raises(DataError, match="another encoder"):
        FeatureCache(encoder, tmp_path / "features")


def test_a_reader_does_not_disturb_and_sees_more_after_its_own_fill(
    tmp_path: Path, make_clips: MakeClips, encoder: LogMelEncoder
) -> None:
    clips = make_clips(4)
    reader, writer = (FeatureCache(encoder, tmp_path / "features") for _ in range(2))
    writer.fill(clips[:2])
    reader.fill(clips[:2])
    held = reader.get(clips[0][2])
    copy = held.copy()
    writer.fill(clips)
    assert np.array_equal(held, copy)
    assert not reader.has(clips[3][2])
    assert reader.fill(clips) == FillReport(cached=4)
    assert np.array_equal(reader.get(clips[3][2]), writer.get(clips[3][2]))


def test_a_second_writer_waits_and_then_finds_the_clips(
    tmp_path: Path, make_clips: MakeClips, encoder: LogMelEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    clips = make_clips(3)
    first, second = (FeatureCache(encoder, tmp_path / "features") for _ in range(2))
    first.folder.mkdir(parents=True)
    reports: list[FillReport] = []
    with caplog.at_level(logging.WARNING):
        with FileLock(first.folder / "writer.lock"):
            thread = threading.Thread(target=lambda: reports.append(second.fill(clips)))
            thread.start()
            thread.join(timeout=0.5)
            assert thread.is_alive()
            assert not (first.folder / "index.bin").exists()
        thread.join(timeout=30)
    assert reports == [FillReport(encoded=3)]
    assert "another process is filling" in caplog.text
    assert first.fill(clips) == FillReport(cached=3)
