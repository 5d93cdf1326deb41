"""Encoders by name, also those that another installed package announces."""

from __future__ import annotations

from pathlib import Path

import pytest
from fusion_core.errors import ConfigError, MissingAssetError
from fusion_encoders.logmel import LogMelEncoder
from fusion_encoders.registry import ENCODERS, load_encoder


def test_an_encoder_is_made_with_its_options() -> None:
    encoder = load_encoder("logmel", bands=8, patch_frames=4)
    assert isinstance(encoder, LogMelEncoder)
    assert encoder.width == 32


def test_every_line_of_the_registry_is_importable() -> None:
    for name in ("aisfx", "logmel"):
        assert ENCODERS.load(name).name == name


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("logmell", "did you mean 'logmel'"),
        ("zzz", "known are aisfx, clap, clap-fused, efficientnet-lite0, logmel, patches, timesformer"),
    ],
)
def test_an_unknown_name_gets_a_suggestion(name: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        load_encoder(name)


def test_an_unknown_option_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'band'.* its options are: bands, patch_frames"):
        load_encoder("logmel", band=8)


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a package with two announced encoders, one of which does not import."""
    (tmp_path / "plugin_encoder.py").write_text(
        "from fusion_encoders.logmel import LogMelEncoder\n\n\nclass Tiny(LogMelEncoder):\n    name = 'tiny-plugin'\n"
    )
    metadata = tmp_path / "plugin_encoder-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin-encoder\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[fusion.encoders]\ntiny-plugin = plugin_encoder:Tiny\nbroken-plugin = absent_module:Encoder\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("plugin")
def test_another_package_adds_an_encoder_by_an_entry_point() -> None:
    assert "tiny-plugin" in ENCODERS.names()
    assert load_encoder("tiny-plugin", bands=2).width == 32
    with pytest.raises(MissingAssetError, match="broken-plugin stands for absent_module:Encoder"):
        load_encoder("broken-plugin")
