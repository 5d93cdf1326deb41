"""The table of controls from score files alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fusion_eval.errors import DataError
from fusion_eval.schemas import Scores
from fusion_report.controls import control_rows, draw_controls

HASH = "0" * 64


def write_scores(folder: Path, condition: str, values: dict[str, float]) -> None:
    Scores(
        dataset="scenes",
        split="test",
        system="additive",
        predictions_sha256=HASH,
        references_sha256=HASH,
        n=len(values),
        metrics={"cider_d": float(np.mean(list(values.values())))},
        per_clip=tuple({"id": clip, "cider_d": value} for clip, value in values.items()),
        definition={},
        tools={},
    ).write(folder / "scores" / f"{condition}.json")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_scores(tmp_path, "audio", {"a": 0.2, "b": 0.4, "c": 0.9, "d": 0.5})
    write_scores(tmp_path, "shuffled", {"a": 0.1, "b": 0.1, "c": 0.1, "d": 0.1})
    (tmp_path / "subsets.json").write_text(json.dumps({"seen": ["a", "b"], "held_out": ["c", "d"]}))
    return tmp_path


def test_values_are_the_means_of_the_clips_of_each_subset(run):
    found = {(row.condition, row.subset): row for row in control_rows(run)}
    assert found["audio", "all"].value == pytest.approx(0.5)
    assert found["audio", "seen"].value == pytest.approx(0.3)
    assert found["audio", "held-out"].value == pytest.approx(0.7)
    assert found["audio", "all"].n == 4
    assert found["audio", "all"].low < 0.5 < found["audio", "all"].high
    assert (found["shuffled", "all"].low, found["shuffled", "all"].high) == pytest.approx((0.1, 0.1))


def test_the_figure_is_written_as_png_and_svg(run, tmp_path):
    png = draw_controls(control_rows(run), tmp_path / "figure")
    assert png.read_bytes().startswith(b"\x89PNG")
    svg = (tmp_path / "figure.svg").read_text()
    assert "shuffled audio" in svg
    assert "held-out" in svg


def test_a_folder_without_scores_is_refused(tmp_path):
    with pytest.raises(DataError, match="no scores here"):
        control_rows(tmp_path)
