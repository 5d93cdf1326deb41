"""Shares of an encoding: each clip once, whoever encodes it; each share goes on where it stopped; memory is bounded."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fusion_core.errors import ConfigError
from fusion_encoders import feature_store
from fusion_encoders.cache import FeatureCache
from fusion_encoders.feature_store import FeatureStore
from fusion_encoders.logmel import LogMelEncoder
from fusion_encoders.sharding import Shard

Clips = list[tuple[str, Path, str]]


@pytest.fixture
def clips(tmp_path: Path) -> Clips:
    found = []
    for number in range(12):
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, np.random.default_rng(number).uniform(-1, 1, 1_600), 16_000)
        found.append((str(number), path, hashlib.sha256(path.read_bytes()).hexdigest()))
    return found


def cache(root: Path) -> FeatureCache:
    return FeatureCache(LogMelEncoder(bands=8, patch_frames=4), root)


def test_the_shares_are_the_whole_and_no_clip_is_encoded_twice(clips: Clips, tmp_path: Path) -> None:
    root = tmp_path / "features"
    reports = [cache(root).fill(clips, workers=1, shard=Shard(rank, 3)) for rank in range(3)]
    assert [report.encoded + report.other_shares for report in reports] == [12, 12, 12]
    assert sum(report.encoded for report in reports) == 12
    whole = cache(tmp_path / "whole")
    whole.fill(clips, workers=1)
    together = cache(root)
    assert len(together) == 12
    for _, _, digest in clips:
        np.testing.assert_array_equal(together.get(digest), whole.get(digest))
    assert together.fill(clips, workers=1).cached == 12
    assert cache(root).fill(clips, workers=1, shard=Shard(0, 5)).encoded == 0


def test_shares_are_written_side_by_side_and_one_is_taken_up_again(clips: Clips, tmp_path: Path) -> None:
    root, shard = tmp_path / "features", Shard(0, 2)
    mine = [clip for clip in clips if shard.holds(clip[2])]
    first = cache(root)
    first.fill(mine[:2], workers=1, shard=shard)
    with FeatureStore(first.folder / "shards" / shard.name, first._store.width, first._identity).writing():
        assert cache(root).fill(clips, workers=1, shard=Shard(1, 2)).encoded == 12 - len(mine)
    report = cache(root).fill(clips, workers=1, shard=shard)
    assert (report.encoded, report.cached) == (len(mine) - 2, 2)


def test_a_share_of_another_machine_is_used_where_its_folder_is_copied(clips: Clips, tmp_path: Path) -> None:
    here, there = cache(tmp_path / "here"), cache(tmp_path / "there")
    here.fill(clips, workers=1, shard=Shard(0, 2))
    there.fill(clips, workers=1, shard=Shard(1, 2))
    shutil.copytree(there.folder / "shards" / "1-of-2", here.folder / "shards" / "1-of-2")
    assert len(cache(tmp_path / "here")) == 12


@pytest.mark.parametrize("rank", [-1, 2])
def test_a_rank_outside_the_world_is_refused(rank: int) -> None:
    with pytest.raises(ConfigError, match="--rank, --world") as caught:
        Shard(rank, 2)
    assert caught.value.exit_code == 2


def test_pages_are_given_back_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_store, "RESIDENT_BYTES", 100_000)
    store = FeatureStore(tmp_path / "store", 512, {"encoder": "none"})
    blocks = {f"{number:064x}": np.full((20, 512), number, np.float16) for number in range(50)}
    with store.writing() as writer:
        for digest, block in blocks.items():
            writer.append(digest, block)
    held = store.read(f"{3:064x}")
    for digest, block in blocks.items():
        np.testing.assert_array_equal(store.read(digest), block)
    assert (held == 3).all()
    assert store._resident < 200_000


def test_the_command_encodes_its_share(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fusion_cli.main import run
    from fusion_train.datasets.folder import FolderOptions, FolderRecipe

    monkeypatch.setenv("FUSION_CACHE", str(tmp_path / "cache"))
    FolderRecipe().prepare(tmp_path / "root", FolderOptions(audio_dir=clips[0][1].parent))

    def encode(*arguments: str) -> int:
        monkeypatch.setattr(
            sys, "argv", ["fusion", "encode", str(tmp_path / "root"), "--encoder", "logmel", *arguments]
        )
        with pytest.raises(SystemExit) as caught:
            run()
        return int(caught.value.code or 0)

    assert encode("--rank", "2", "--world", "2") == 2
    assert "give a rank from 0 to 1" in capsys.readouterr().err
    encoded = []
    for rank in ("0", "1"):
        assert encode("--rank", rank, "--world", "2", "--workers", "1", "--json") == 0
        result = json.loads(capsys.readouterr().out)
        assert result["encoded"] + result["other_shares"] == 12
        encoded.append(result["encoded"])
    assert sum(encoded) == 12
