"""The measurement of large datasets, on a small one: every stage is really done, for so many clips as are asked for."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from fusion_train.datasets.base import open_dataset
from fusion_train.feature_scale import measure_scale


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
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from fusion_cli.main import run

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["fusion", "bench", "scale", "--clips", "3", "--clips", "5", "--json"])
    with pytest.raises(SystemExit) as caught:
        run()
    assert not caught.value.code
    assert [one["clips"] for one in json.loads(capsys.readouterr().out)] == [3, 5]
    assert not list(tmp_path.iterdir())
