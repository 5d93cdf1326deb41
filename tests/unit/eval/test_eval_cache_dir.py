"""The user's cache is one folder for all packages."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from fusion_core import files as core_files
from fusion_eval import files


@pytest.mark.parametrize(
    ("cache", "standard"),
    [("/a/b", "/c"), ("relative", ""), (None, "/c/d"), (None, "relative"), (None, ""), (None, None), ("", "/c")],
)
def test_the_folder_is_that_of_fusion_core(cache, standard, monkeypatch):
    for name, value in (("FUSION_CACHE", cache), ("XDG_CACHE_HOME", standard)):
        monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
    assert files.cache_dir() == core_files.cache_dir()


@pytest.mark.skipif(sys.platform == "win32", reason="the folders of other systems are looked at from a Unix")
@pytest.mark.parametrize("standard", ["", "/c"])
def test_the_folder_on_macos(standard, monkeypatch):
    from platformdirs.macos import MacOS

    monkeypatch.delenv("FUSION_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", standard)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert files.cache_dir() == Path(MacOS("fusion").user_cache_dir)
