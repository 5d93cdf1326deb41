"""CLAP by transformers, at tiny random width: what it hears, its two towers, and what it refuses."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from fusion_core.errors import DataError, MissingAssetError
from fusion_encoders.base import FeatureSequence
from fusion_encoders.clap import ClapEncoder, ClapSimilarity, ClapTextEncoder, FusedClapEncoder
from fusion_encoders.clap_laion import checkpoint_facts
from fusion_encoders.clap_listening import ClapMel, even_windows, fused_views, log_mel
from fusion_encoders.registry import ENCODERS, TEXT_ENCODERS, load_encoder

SECOND = 48_000


def noise(seconds: float, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.3 * torch.randn(round(seconds * SECOND), generator=generator)


def tiny_model(folder: Path) -> Any:
    from transformers import ClapModel

    return ClapModel.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, write_tiny_clap: Callable[..., None]) -> dict[bool, Path]:
    found = {fused: tmp_path_factory.mktemp("fused" if fused else "unfused") for fused in (False, True)}
    for fused, folder in found.items():
        write_tiny_clap(folder, fused=fused)
    return found


@contextmanager
def middle_instead_of_chance() -> Iterator[None]:
    with mock.patch.object(np.random, "choice", side_effect=lambda places: places[len(places) // 2]):
        yield


def extracted(seconds: float, fused: bool) -> torch.Tensor:
    """Return what transformers' own feature extractor makes of a noise."""
    from transformers import ClapFeatureExtractor

    extractor = ClapFeatureExtractor(frequency_min=50, truncation="fusion" if fused else "rand_trunc")
    with middle_instead_of_chance():
        features = extractor(noise(seconds).numpy(), sampling_rate=SECOND)["input_features"]
    return torch.from_numpy(np.array(features)).float()


@pytest.mark.parametrize("seconds", [0.7, 3.0, 10.0])
def test_a_clip_of_up_to_ten_seconds_is_heard_as_by_transformers(seconds: float) -> None:
    ours = log_mel(even_windows(noise(seconds)), ClapMel(fused=False))
    torch.testing.assert_close(ours, extracted(seconds, fused=False)[0], atol=2e-3, rtol=1e-4)


@pytest.mark.parametrize(("seconds", "longer"), [(4.0, False), (10.005, False), (17.3, True)])
def test_the_fused_model_hears_as_by_transformers_but_for_the_chance(seconds: float, longer: bool) -> None:
    views, is_longer = fused_views(noise(seconds), ClapMel(fused=True))
    assert views.shape == (1, 4, 1001, 64)
    assert is_longer.tolist() == [longer]
    torch.testing.assert_close(views, extracted(seconds, fused=True), atol=2e-3, rtol=1e-4)


@pytest.mark.parametrize(
    ("seconds", "windows"), [(0.1, 1), (10.0, 1), (10.9, 1), (11.1, 2), (20.0, 2), (30.0, 3), (31.5, 4)]
)
def test_windows_cover_a_clip_from_its_beginning_to_its_end(seconds: float, windows: int) -> None:
    waveform = noise(seconds)
    found = even_windows(waveform)
    assert found.shape == (windows, 10 * SECOND)
    assert torch.equal(found[0][: min(len(waveform), 10 * SECOND)], waveform[: 10 * SECOND])
    if windows > 1:
        assert torch.equal(found[-1], waveform[-10 * SECOND :])


@pytest.mark.parametrize("fused", [False, True])
def test_frames_pool_to_what_the_model_itself_gives(folders: dict[bool, Path], fused: bool) -> None:
    encoder = (FusedClapEncoder if fused else ClapEncoder)(str(folders[fused]))
    frames = encoder.encode(noise(3.0))
    assert frames.shape == (32, encoder.width) == (32, 64)
    with torch.no_grad():
        output = tiny_model(folders[fused]).get_audio_features(extracted(3.0, fused), is_longer=torch.tensor([[False]]))
    torch.testing.assert_close(encoder.pooled(frames), output.pooler_output[0], atol=1e-4, rtol=1e-3)


def test_a_longer_clip_has_the_frames_of_each_window(folders: dict[bool, Path]) -> None:
    encoder = ClapEncoder(str(folders[False]))
    clip = noise(20.0)
    both = encoder.encode(clip)
    assert both.shape == (64, 64)
    torch.testing.assert_close(both[:32], encoder.encode(clip[: 10 * SECOND]), atol=1e-4, rtol=1e-3)
    assert FusedClapEncoder(str(folders[True])).encode(clip).shape == (32, 64)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("seconds", [2.0, 23.4])
def test_the_same_file_gives_a_cosine_of_one(folders: dict[bool, Path], fused: bool, seconds: float) -> None:
    first, second = (ClapEncoder(str(folders[fused])) for _ in range(2))
    one, other = first.encode(noise(seconds)), second.encode(noise(seconds))
    assert torch.equal(one, other)
    assert float(first.pooled(one) @ second.pooled(other)) == pytest.approx(1.0, abs=1e-6)


def test_texts_embed_as_by_the_model_itself(folders: dict[bool, Path]) -> None:
    texts = ["a dog barks", "rain falls on a tin roof", "a dog barks twice"]
    encoder = ClapTextEncoder(str(folders[False]))
    ours = encoder.encode(texts)
    assert ours.shape == (3, encoder.width) == (3, 24)
    tokens = encoder._tower.tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        theirs = (
            tiny_model(folders[False])
            .get_text_features(tokens["input_ids"], attention_mask=tokens["attention_mask"])
            .pooler_output
        )
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    assert torch.equal(ours[:1], encoder.encode(texts[:1]))


def test_the_similarity_joins_both_towers(folders: dict[bool, Path]) -> None:
    similarity = ClapSimilarity(str(folders[False]))
    clips = [similarity.encoder.encode(noise(seconds)) for seconds in (2.0, 20.0)]
    audio = similarity.embed_audio(FeatureSequence.pad(clips))
    text = similarity.embed_text(["a dog barks", "rain"])
    assert audio.shape == text.shape == (2, similarity.width)
    torch.testing.assert_close(audio.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(audio[1], similarity.encoder.pooled(clips[1]))
    assert similarity.fingerprint() == ClapSimilarity(encoder=ClapEncoder(str(folders[False]))).fingerprint()
    with pytest.raises(DataError, match="whole windows"):
        similarity.embed_audio(FeatureSequence.pad([clips[0][:31]]))


def test_hashes_tell_weights_and_hearing_apart_and_a_copy_leaves_the_network_behind(folders: dict[bool, Path]) -> None:
    encoder, fused = ClapEncoder(str(folders[False])), ClapEncoder(str(folders[True]))
    assert encoder.weights_sha256 != fused.weights_sha256
    assert encoder.preprocessing_sha256 != fused.preprocessing_sha256
    frames = encoder.encode(noise(1.0))
    copy = pickle.dumps(encoder)
    assert len(copy) < 10_000
    assert torch.equal(pickle.loads(copy).encode(noise(1.0)), frames)


def test_weights_are_found_by_the_environment_and_missing_ones_say_how_to_get_them(
    folders: dict[bool, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert {"clap", "clap-fused"} <= set(ENCODERS.names())
    assert "clap" in TEXT_ENCODERS.names()
    monkeypatch.setenv("FUSION_CLAP", str(folders[False]))
    assert load_encoder("clap").weights_sha256 == ClapEncoder(str(folders[False])).weights_sha256
    for nowhere in (str(tmp_path / "nowhere.pt"), "nobody/no-such-clap"):
        monkeypatch.setenv("FUSION_CLAP", nowhere)
        with pytest.raises(MissingAssetError, match="hf download laion/clap-htsat-unfused"):
            load_encoder("clap")


def test_a_checkpoint_that_would_run_code_or_is_another_is_refused(tmp_path: Path) -> None:
    class Runs:
        def __reduce__(self) -> tuple[Any, ...]:
            return print, ("code ran",)

    bad, other = tmp_path / "bad.pt", tmp_path / "other.pt"
    torch.save({"state_dict": {}, "extra": Runs()}, bad)
    torch.save({"state_dict": {"weight": torch.zeros(2)}}, other)
    with pytest.raises(DataError, match="weights alone"):
        checkpoint_facts(bad)
    with pytest.raises(DataError, match="HTSAT audio branch"):
        checkpoint_facts(other)
    (tmp_path / "cut.pt").write_bytes(other.read_bytes()[:200])
    with pytest.raises(DataError, match="download it again"):
        checkpoint_facts(tmp_path / "cut.pt")
