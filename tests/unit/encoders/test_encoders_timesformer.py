"""TimeSformer by transformers' own class, tiny and with random weights.

Shapes: T frames, F frames of a window, H and W pixels, A encoder width.
"""

from __future__ import annotations

import pytest
import torch
from fusion_core.errors import ConfigError, DataError, MissingAssetError
from fusion_encoders.timesformer import SOURCE_VARIABLE, TimesformerEncoder
from transformers import TimesformerConfig, TimesformerModel


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model in transformers' layout."""
    torch.manual_seed(0)
    config = TimesformerConfig(
        image_size=32,
        patch_size=8,
        num_frames=4,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        initializer_range=0.3,
    )
    place = tmp_path_factory.mktemp("timesformer")
    TimesformerModel(config).save_pretrained(place)
    return place


@pytest.fixture(name="pixels_T3HW")
def make_pixels():
    return torch.randint(0, 256, (6, 3, 40, 56), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def test_a_frame_is_the_mean_of_its_own_patches(folder, pixels_T3HW):
    encoder = TimesformerEncoder(str(folder))
    x_FA = encoder.encode(pixels_T3HW[:4])
    assert x_FA.shape == (4, 24)
    # Without attention over time, a frame depends on nothing but itself: which token belongs to which frame shows.
    for layer in encoder._model.encoder.layer:
        layer.temporal_dense.weight.zero_()
        layer.temporal_dense.bias.zero_()
    encoder._model.encoder.layer = encoder._model.encoder.layer[:1]
    before_FA = encoder.encode(pixels_T3HW[:4])
    changed_T3HW = pixels_T3HW[:4].clone()
    changed_T3HW[2] = 255 - changed_T3HW[2]
    moved_F = (encoder.encode(changed_T3HW) - before_FA).abs().amax(dim=1)
    assert moved_F[2] > 1e-2
    assert moved_F[[0, 1, 3]].max() < 1e-5


def test_the_last_window_begins_earlier_and_a_short_clip_repeats_its_last_frame(folder, pixels_T3HW):
    encoder = TimesformerEncoder(str(folder))
    x_TA = encoder.encode(pixels_T3HW)
    assert x_TA.shape == (6, 24)
    torch.testing.assert_close(x_TA[:4], encoder.encode(pixels_T3HW[:4]))
    torch.testing.assert_close(x_TA[4:], encoder.encode(pixels_T3HW[2:6])[2:])
    short = encoder.encode(pixels_T3HW[:2])
    assert short.shape == (2, 24)
    repeated = torch.cat([pixels_T3HW[:2], pixels_T3HW[1:2], pixels_T3HW[1:2]])
    torch.testing.assert_close(short, encoder.encode(repeated)[:2])


def test_weights_are_found_by_path_and_by_the_environment(folder, monkeypatch, tmp_path):
    monkeypatch.setenv(SOURCE_VARIABLE, str(folder))
    encoder = TimesformerEncoder()
    assert encoder.width == 24
    assert encoder.fingerprint() == TimesformerEncoder(str(folder)).fingerprint()
    assert encoder.fingerprint() != TimesformerEncoder(frame_rate=8.0).fingerprint()
    monkeypatch.delenv(SOURCE_VARIABLE)
    with pytest.raises(MissingAssetError, match="hf download facebook/timesformer"):
        TimesformerEncoder()
    with pytest.raises(MissingAssetError, match=r"has no config\.json"):
        TimesformerEncoder(str(tmp_path))
    with pytest.raises(ConfigError, match="frame_rate"):
        TimesformerEncoder(str(folder), frame_rate=0)


def test_another_models_folder_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "vit", "hidden_size": 8}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(DataError, match="not TimeSformer's"):
        TimesformerEncoder(str(tmp_path))
