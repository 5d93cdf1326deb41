"""The batch of features and the identity of an encoder."""

from __future__ import annotations

import pytest
import torch
from fusion_encoders.base import FeatureSequence, FrozenEncoder, sha256_of_settings
from fusion_encoders.logmel import LogMelEncoder
from hypothesis import given
from hypothesis import strategies as st


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_padding_keeps_every_frame_and_masks_the_rest(lengths: list[int]) -> None:
    clips = [torch.randn(length, 3) for length in lengths]
    batch = FeatureSequence.pad(clips)
    assert batch.x_BTA.shape == (len(lengths), max(lengths), 3)
    assert batch.mask_BT.sum(dim=1).tolist() == lengths
    for row, clip in enumerate(clips):
        assert torch.equal(batch.x_BTA[row][batch.mask_BT[row]], clip)
        assert (batch.x_BTA[row][~batch.mask_BT[row]] == 0).all()


def test_moving_keeps_values_and_mask() -> None:
    batch = FeatureSequence.pad([torch.ones(2, 3), torch.ones(1, 3)])
    moved = batch.to("meta")
    assert moved.x_BTA.device.type == moved.mask_BT.device.type == "meta"
    assert batch.x_BTA.device.type == "cpu"


@pytest.mark.parametrize("clips", [[], [torch.zeros(3, 4), torch.zeros(3, 5)], [torch.zeros(3)]])
def test_clips_that_do_not_fit_together_are_refused(clips: list[torch.Tensor]) -> None:
    with pytest.raises(ValueError, match="clips of one width"):
        FeatureSequence.pad(clips)


@pytest.mark.parametrize("mask", [torch.ones(2, 4, dtype=torch.bool), torch.ones(2, 3)])
def test_a_mask_of_another_shape_or_type_is_refused(mask: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="boolean mask"):
        FeatureSequence(torch.zeros(2, 3, 5), mask)


def test_the_fingerprint_names_weights_and_preprocessing() -> None:
    class Other(LogMelEncoder):
        pass

    encoder: FrozenEncoder = LogMelEncoder()
    assert encoder.fingerprint() == LogMelEncoder().fingerprint()
    for attribute in ("name", "weights_sha256", "preprocessing_sha256"):
        other = Other()
        setattr(other, attribute, "another")
        assert other.fingerprint() != encoder.fingerprint()


def test_the_hash_of_settings_does_not_depend_on_their_order() -> None:
    assert sha256_of_settings({"a": 1, "b": [2, None]}) == sha256_of_settings({"b": [2, None], "a": 1})
    assert sha256_of_settings({"a": 1}) != sha256_of_settings({"a": 2})
