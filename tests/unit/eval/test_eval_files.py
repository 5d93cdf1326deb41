"""Atomic writes: the old content or the new, never a part."""

from __future__ import annotations

import os
import stat

import pytest
from fusion_eval.files import sha256_file, write_atomic


def test_the_folder_is_made_and_the_content_written(tmp_path):
    path = tmp_path / "deep" / "file"
    write_atomic(path, b"content")
    assert path.read_bytes() == b"content"
    assert sha256_file(path) == "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_leaves_the_old_content_and_no_other_file(step, tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail) if step == "fsync" else monkeypatch.setattr(type(path), "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_is_readable_as_the_process_wants_and_an_old_one_keeps_its_mode(tmp_path):
    old_mask = os.umask(0o027)
    try:
        write_atomic(tmp_path / "new", b"")
    finally:
        os.umask(old_mask)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    (tmp_path / "new").chmod(0o600)
    write_atomic(tmp_path / "new", b"x")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600
