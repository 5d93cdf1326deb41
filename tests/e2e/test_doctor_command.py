"""fusion doctor: what a run on a dataset needs, and how to get what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fusion_cli.main import app
from fusion_train.datasets.registry import parse_options, prepare_dataset
from typer.testing import CliRunner


@pytest.fixture(autouse=True)
def _an_empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FUSION_CLAP", raising=False)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five prepared clips."""
    root = tmp_path_factory.mktemp("scenes")
    prepare_dataset("scenes", parse_options("scenes", {"train": 2, "val": 1, "test": 2}), root)
    return root


def findings(*arguments: str) -> tuple[int, dict[str, dict[str, object]]]:
    result = CliRunner().invoke(app, ["doctor", *arguments, "--json"])
    return result.exit_code, {finding["name"]: finding for finding in json.loads(result.stdout)}


def test_the_doctor_of_audiocaps_names_the_command_for_each_missing_thing() -> None:
    code, found = findings("audiocaps")
    assert code == 3
    assert found["data audiocaps"]["detail"] == "fusion data prepare audiocaps --csv-dir CSVS --audio-dir AUDIO"
    assert found["backbone llava-1.5-7b"]["detail"] == "hf download llava-hf/llava-1.5-7b-hf"
    assert "hf download laion/clap-htsat-unfused" in str(found["encoder clap"]["detail"])
    assert found["data audiocaps"]["purpose"] == "fusion train audiocaps --profile paper-7b"
    assert "java" in found


def test_a_prepared_dataset_and_models_of_ours_are_all_that_a_tiny_run_needs(scenes: Path) -> None:
    options = ("scenes", "--profile", "tiny")
    assert findings(*options)[0] == 3
    code, found = findings(*options, "--root", str(scenes))
    assert code == 0
    assert "2 clips of train" in str(found["data scenes"]["detail"])


def test_missing_weights_beside_present_data_are_an_asset_error(tmp_path: Path, scenes: Path) -> None:
    profile = tmp_path / "mine.yaml"
    profile.write_text("backbone: llava-1.5-13b\nencoder: logmel\nschedule: {steps: 1}\nevaluation: {every: 1}\n")
    code, found = findings("scenes", "--profile", str(profile), "--root", str(scenes))
    assert code == 4
    assert found["backbone llava-1.5-13b"]["detail"] == "hf download llava-hf/llava-1.5-13b-hf"
