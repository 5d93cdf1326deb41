"""Adapters in the shape of a hub's repository: a folder, or the hub's cache; nothing is fetched."""

from __future__ import annotations

from pathlib import Path

import pytest
from fusion_core.errors import DataError, MissingAssetError
from fusion_core.systems.additive import Additive
from fusion_core.systems.base import load_system
from fusion_core.systems.concat import Concat


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """An empty hub cache; every attempt to reach the network fails the test."""
    import socket

    from huggingface_hub import constants

    def refuse(*arguments: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_a_repository_in_the_hubs_cache_is_loaded(fuse, backbone, hub):
    system = fuse("additive-broadcast-gated-linear", backbone).system
    repository = hub / "models--lab--ears"
    commit = "0123456789abcdef0123456789abcdef01234567"
    system.save_pretrained(repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    loaded = Additive.from_pretrained("lab/ears")
    assert loaded.adapter_bytes() == system.adapter_bytes()
    with pytest.raises(DataError, match="'additive'; use Additive"):
        Concat.from_pretrained("lab/ears")


def test_what_is_not_in_the_cache_is_a_missing_asset_and_not_fetched(hub):
    with pytest.raises(MissingAssetError, match="hf download lab/absent"):
        load_system("lab/absent")


def test_a_folder_goes_first_and_a_readme_in_it_is_no_hindrance(fuse, backbone, hub, tmp_path, monkeypatch):
    system = fuse("concat", backbone).system
    system.save_pretrained(tmp_path / "lab" / "ears")
    (tmp_path / "lab" / "ears" / "README.md").write_text("---\nlibrary_name: fusion\n---\n")
    monkeypatch.chdir(tmp_path)
    assert load_system("lab/ears").adapter_bytes() == system.adapter_bytes()
    assert load_system(tmp_path / "lab" / "ears").config == system.config
    with pytest.raises(DataError, match="no adapter here"):
        load_system(tmp_path / "lab" / "mouths")
