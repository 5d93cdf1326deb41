"""The measurement of large datasets, on a small one: every stage is really done, for so many clips as are asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fusion_train.datasets.base import open_dataset
from fusion_train.feature_scale import Cost, ScaleCost, measure_scale


def test_every_stage_is_measured_on_all_clips(tmp_path: Path) -> None:
    cost = measure_scale(tmp_path, 20, frames=3)
    assert (cost.clips, cost.frame_bytes) == (20, 20 * 3 * 512 * 2)
    rows = open_dataset(tmp_path / "root").manifest
    assert [row.status for row in rows] == ["ok"] * 20
    assert len({row.sha256 for row in rows}) == 1
    for stage in (cost.prepare, cost.manifest, cost.features, cost.epoch):
        assert stage.seconds > 0
        assert stage.processor > 0


def test_the_command_prints_a_column_a_size(
    fusion_here: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    measured: list[int] = []

    def measure(folder: Path, clips: int) -> ScaleCost:
        assert folder.is_dir()
        measured.append(clips)
        stage = Cost(1.0, 0.5 * clips, clips * 2**20)
        return ScaleCost(clips, stage, stage, stage, stage, frame_bytes=20 * clips)

    monkeypatch.setattr("fusion_train.feature_scale.measure_scale", measure)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    command = ("bench", "scale", "--clips", "3", "--clips", "5")
    assert [one["clips"] for one in json.loads(fusion_here(tmp_path, *command, "--json").stdout)] == [3, 5]
    assert measured == [3, 5]
    table = fusion_here(tmp_path, *command).stdout
    assert "2.50 s, 5 MiB" in table
    assert not list(tmp_path.iterdir())
