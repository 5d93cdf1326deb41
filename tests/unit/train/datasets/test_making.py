"""Datasets that are made: once, whoever asks, and never over another one."""

from __future__ import annotations

import logging
import shutil
import threading
from pathlib import Path

import pytest
from fusion_core.locks import waiting_lock
from fusion_train.datasets.base import PreparedDataset
from fusion_train.datasets.scenes.recipe import ScenesRecipe


def test_a_second_process_waits_and_finds_what_the_first_one_made(small_scenes, options, tmp_path, caplog):
    found: list[PreparedDataset] = []
    root = tmp_path / "scenes"
    with caplog.at_level(logging.WARNING):
        with waiting_lock(root / ".lock", "preparing it"):  # somebody makes it
            thread = threading.Thread(target=lambda: found.append(ScenesRecipe().prepare(root, options())))
            thread.start()
            thread.join(timeout=0.5)
            assert thread.is_alive()
            assert not list(root.rglob("*.flac"))
            shutil.copytree(small_scenes.root, root, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".lock"))
        written = {path: path.stat().st_mtime_ns for path in root.rglob("*.flac")}
        thread.join(timeout=60)
    assert found == [PreparedDataset("scenes", root)]
    assert f"another process is preparing {root}; waiting for it" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*.flac")} == written


def test_a_lock_is_let_go_after_an_error(tmp_path: Path):
    lock = tmp_path / "folder" / "lock"
    with pytest.raises(ValueError, match="broken"), waiting_lock(lock, "breaking"):
        raise ValueError("broken")
    with waiting_lock(lock, "trying again"):
        pass
