"""Small scenes that several test files share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fusion_train.datasets.base import PreparedDataset
from fusion_train.datasets.scenes.options import ScenesOptions
from fusion_train.datasets.scenes.recipe import ScenesRecipe

SMALL = {"train": 20, "val": 4, "test": 8, "sample_rate": 8_000, "workers": 1}


def small_options(**changes: Any) -> ScenesOptions:
    """Options of a dataset that is made in a second."""
    return ScenesOptions.model_validate(SMALL | changes)


@pytest.fixture(scope="session")
def small_scenes(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    """A small dataset of synthesised scenes; not to be changed."""
    return ScenesRecipe().prepare(tmp_path_factory.mktemp("scenes") / "root", small_options())


@pytest.fixture
def options() -> Any:
    """Make small options: ``options(seed=1)``."""
    return small_options


@pytest.fixture
def copy_of_scenes(small_scenes: PreparedDataset, tmp_path: Path) -> PreparedDataset:
    """A copy of the small dataset that a test may damage."""
    import shutil

    shutil.copytree(small_scenes.root, tmp_path / "copy")
    return PreparedDataset(small_scenes.name, tmp_path / "copy")


@pytest.fixture
def fusion(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the command line in this process: ``fusion("data", "verify", …)`` returns the exit code."""

    def run_command(*arguments: str) -> int:
        from fusion_cli.main import run

        monkeypatch.setattr(sys, "argv", ["fusion", *arguments])
        monkeypatch.setenv("COLUMNS", "160")
        with pytest.raises(SystemExit) as caught:
            run()
        return int(caught.value.code or 0)

    return run_command
