"""Heads of a prepared dataset: their folder, who finds them, and the similarity that candidates get, also on the command line."""

from __future__ import annotations

import csv
import inspect
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from fusion_core.errors import ConfigError, DataError, MissingAssetError
from fusion_encoders.base import FeatureSequence
from fusion_encoders.logmel import LogMelEncoder
from fusion_encoders.registry import load_encoder
from fusion_eval.reranking import parse_weights, rerank
from fusion_eval.schemas import Candidate, PredictionItem, Predictions
from fusion_train import similarity_training
from fusion_train.audio_text import (
    HeadsCard,
    HeadsSimilarity,
    add_similarity,
    default_folder,
    find_similarity,
    load_similarity,
)
from fusion_train.datasets.base import PreparedDataset, open_dataset
from fusion_train.datasets.folder import FolderOptions, FolderRecipe
from fusion_train.similarity_settings import HeadSettings
from fusion_train.similarity_training import fill_features, train_similarity

SENTENCES = (
    ("A low tone hums", "A deep hum is heard"),
    ("A high tone whistles", "A shrill whistle is heard"),
    ("Noise hisses", "A steady hiss is heard"),
)
SETTINGS = HeadSettings(text_encoder="hashed-words", width=16, epochs=12, batch=12, lr=5e-3)
SPLITS = {"train": 24, "val": 6, "test": 6}


def sound(kind: int, number: int) -> np.ndarray:
    time = np.arange(4_000 + 500 * (number % 4)) / 8_000
    generator = np.random.default_rng([kind, number])
    noise = generator.normal(size=len(time))
    tone = np.sin(2 * np.pi * (150, 2_000, 0)[kind] * generator.uniform(0.9, 1.1) * time)
    return (0.4 * (tone + 0.02 * noise) if kind < 2 else 0.2 * noise).clip(-0.9, 0.9)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    """Tones and noises with captions; a number in one sentence tells the clips of a kind apart."""
    root = tmp_path_factory.mktemp("sounds")
    with (root / "captions.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "caption", "split"])
        for split, count in SPLITS.items():
            for number in range(count):
                path = f"{split}-{number}.wav"
                soundfile.write(root / path, sound(number % 3, number + 100 * len(split)), 8_000)
                for sentence in SENTENCES[number % 3]:
                    writer.writerow([path, sentence, split])
    return FolderRecipe().prepare(root, FolderOptions())


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FUSION_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def trained(dataset: PreparedDataset, cache: Path) -> HeadsSimilarity:
    folder, _ = train_similarity(dataset, LogMelEncoder(), SETTINGS)
    return load_similarity(folder)


def predictions(dataset: PreparedDataset, split: str = "test") -> Predictions:
    """Every clip has one sentence of each kind as a candidate, the wrong ones first; the last clip has none."""
    items = []
    for number, row in enumerate(dataset.rows(split)):
        texts = [SENTENCES[(number + shift) % 3][0] for shift in (1, 2, 0)]
        candidates = tuple(Candidate(text=text, logprob=-1.0 - place) for place, text in enumerate(texts))
        last = number == len(dataset.rows(split)) - 1
        items.append(PredictionItem(id=row.id, caption=texts[0], candidates=None if last else candidates))
    return Predictions(dataset=dataset.name, split=split, system="toy", items=tuple(items))


def lookup(dataset: PreparedDataset) -> Callable[[str], np.ndarray]:
    features = fill_features(dataset, LogMelEncoder(), dataset.manifest)
    hashes = {row.id: str(row.sha256) for row in dataset.manifest}
    return lambda name: features.get(hashes[name])


def test_heads_are_trained_once_and_found_by_dataset_and_encoder(
    dataset: PreparedDataset, cache: Path, monkeypatch: pytest.MonkeyPatch
):
    encoder = LogMelEncoder()
    assert find_similarity(dataset, encoder, SETTINGS) is None
    said: list[str] = []
    folder, card = train_similarity(dataset, encoder, SETTINGS, announce=said.append)
    assert folder == default_folder(dataset, encoder, SETTINGS)
    assert folder.is_relative_to(cache)
    assert len(said) == 3
    assert {"heads.safetensors", "similarity.json", "README.md", "log.jsonl"} <= {
        path.name for path in folder.iterdir()
    }
    assert (card.train_clips, card.test_clips, card.train_texts) == (24, 6, 6)
    assert card.retrieval["audio_to_text"].queries == 6
    assert "never a result by itself" in card.caution
    assert card.caution in (folder / "README.md").read_text(encoding="utf-8")
    monkeypatch.setattr(similarity_training, "train_heads", None)
    assert train_similarity(dataset, encoder, SETTINGS) == (folder, card)
    found = find_similarity(dataset, encoder, SETTINGS)
    assert found is not None
    assert found.card == card
    assert find_similarity(dataset, LogMelEncoder(bands=8), SETTINGS) is None
    assert default_folder(dataset, encoder, SETTINGS.model_copy(update={"seed": 1})) != folder


def test_equal_seeds_give_equal_files_and_others_do_not(dataset: PreparedDataset, cache: Path, tmp_path: Path):
    encoder = LogMelEncoder()
    first, card = train_similarity(dataset, encoder, SETTINGS, tmp_path / "first")
    shutil.rmtree(cache / "texts")
    second, again = train_similarity(dataset, encoder, SETTINGS, tmp_path / "second")
    assert again == card
    assert (first / "heads.safetensors").read_bytes() == (second / "heads.safetensors").read_bytes()
    _, other = train_similarity(dataset, encoder, SETTINGS.model_copy(update={"seed": 1}), tmp_path / "other")
    assert other.weights_sha256 != card.weights_sha256
    with pytest.raises(ConfigError, match="holds heads of other data, encoders or settings"):
        train_similarity(dataset, encoder, SETTINGS.model_copy(update={"seed": 1}), tmp_path / "first")


def test_what_a_kill_left_is_trained_again(dataset: PreparedDataset, cache: Path, tmp_path: Path):
    folder, card = train_similarity(dataset, LogMelEncoder(), SETTINGS, tmp_path / "heads")
    (folder / "similarity.json").unlink()
    (folder / "heads.safetensors").write_bytes(b"cut")
    with pytest.raises(MissingAssetError, match="fusion align"):
        load_similarity(folder)
    assert train_similarity(dataset, LogMelEncoder(), SETTINGS, folder) == (folder, card)


def test_damaged_weights_and_other_encoders_are_refused(trained: HeadsSimilarity, dataset: PreparedDataset):
    folder = default_folder(dataset, LogMelEncoder(), SETTINGS)
    card = trained.card.model_copy(update={"encoder_sha256": "0" * 64})
    card.write(folder / "similarity.json")
    with pytest.raises(DataError, match="trained with another logmel"):
        load_similarity(folder)
    trained.card.write(folder / "similarity.json")
    content = bytearray((folder / "heads.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "heads.safetensors").write_bytes(content)
    with pytest.raises(DataError, match=r"is not the file that similarity\.json names"):
        load_similarity(folder)


def test_embeddings_are_unit_vectors_without_a_gradient_that_a_loss_may_use(
    trained: HeadsSimilarity, dataset: PreparedDataset
):
    features = lookup(dataset)
    rows = dataset.rows("test")
    frames = [torch.from_numpy(np.array(features(row.id), dtype=np.float32)) for row in rows]
    audio = trained.embed_audio(FeatureSequence.pad(frames))
    text = trained.embed_text(["Noise hisses", "an unheard sentence"])
    assert (audio.shape, text.shape, trained.width) == ((6, 16), (2, 16), 16)
    for vectors in (audio, text):
        assert not vectors.requires_grad
        assert torch.allclose(vectors.norm(dim=1), torch.ones(len(vectors)), atol=1e-5)
    single = torch.cat([trained.embed_audio(FeatureSequence.pad([x])) for x in frames])
    assert torch.allclose(audio, single, atol=1e-6)
    weight = torch.ones(16, requires_grad=True)
    torch.autograd.backward((text * weight).sum())  # an inference tensor would be refused here
    assert weight.grad is not None


def test_the_fingerprint_changes_with_the_weights(dataset: PreparedDataset, trained: HeadsSimilarity, tmp_path: Path):
    folder, _ = train_similarity(dataset, LogMelEncoder(), SETTINGS, tmp_path / "same")
    assert load_similarity(folder).fingerprint() == trained.fingerprint()
    other, _ = train_similarity(dataset, LogMelEncoder(), SETTINGS.model_copy(update={"seed": 2}), tmp_path / "other")
    assert load_similarity(other).fingerprint() != trained.fingerprint()


def test_candidates_get_their_cosine_and_the_reranker_then_finds_the_right_kind(
    trained: HeadsSimilarity, dataset: PreparedDataset
):
    before, features = predictions(dataset), lookup(dataset)
    after = add_similarity(before, trained, features)
    for old, new in zip(before.items, after.items, strict=True):
        assert (old.id, old.caption) == (new.id, new.caption)
        if old.candidates is None:
            assert new == old
            continue
        frames = torch.from_numpy(np.array(features(old.id), dtype=np.float32))
        audio = trained.embed_audio(FeatureSequence.pad([frames]))[0]
        expected = trained.embed_text([one.text for one in old.candidates]) @ audio
        assert [one.similarity for one in new.candidates or ()] == pytest.approx(expected.tolist(), abs=1e-5)
        kept = [one.model_copy(update={"similarity": None}) for one in new.candidates or ()]
        assert kept == list(old.candidates)
    chosen = rerank(after, parse_weights("similarity=1"))
    assert [item.caption for item in chosen.items[:-1]] == [SENTENCES[number % 3][0] for number in range(5)]
    assert Predictions.model_validate_json(after.canonical_bytes()) == after


def test_no_reference_can_reach_the_similarity_of_candidates():
    assert list(inspect.signature(add_similarity).parameters) == ["predictions", "similarity", "features"]


def test_predictions_without_candidates_are_refused(trained: HeadsSimilarity, dataset: PreparedDataset):
    bare = Predictions.from_captions({"a": "Noise hisses"}, "toy")
    with pytest.raises(DataError, match="have no candidates"):
        add_similarity(bare, trained, lookup(dataset))


@pytest.fixture
def fusion(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the command line in this process and return the exit code."""

    def run_command(*arguments: str | Path) -> int:
        from fusion_cli.main import run

        monkeypatch.setattr(sys, "argv", ["fusion", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "160")
        with pytest.raises(SystemExit) as caught:
            run()
        return int(caught.value.code or 0)

    return run_command


HEADS = ("--set", "heads.text_encoder=hashed-words", "--set", "heads.epochs=4", "--set", "heads.batch=12")


def test_align_then_similarity_on_the_command_line(
    fusion: Callable[..., int], cache: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    """Prepared from nothing with the tiny profile; the captioned split's references are gone when candidates are judged."""
    root, heads = tmp_path / "scenes", tmp_path / "heads"
    small = ("--set", "dataset.sample_rate=8000", "--set", "dataset.workers=1")
    align = ("align", "scenes", "--profile", "tiny", "--root", root, "--out", heads, *HEADS, *small)
    assert fusion(*align, "--json") == 0
    result = json.loads(capfd.readouterr().out)
    assert result["folder"] == str(heads)
    assert result["train_clips"] == 24
    assert "template language" in result["caution"]
    assert fusion(*align) == 0
    shown = capfd.readouterr().out
    assert "audio to text" in shown
    assert "chance" in shown
    assert "never a result by itself" in " ".join(shown.split())
    test = predictions(open_dataset(root))
    test.write(tmp_path / "test.json")
    (root / "references" / "test.json").unlink()
    judge = (
        "eval",
        "similarity",
        "--predictions",
        tmp_path / "test.json",
        "--root",
        root,
        "--out",
        tmp_path / "out.json",
    )
    assert fusion(*judge, "--encoder", "logmel") == 4
    assert "fusion align scenes --root" in capfd.readouterr().err
    assert fusion(*judge, "--heads", heads, "--json") == 0
    summary = json.loads(capfd.readouterr().out)
    assert (summary["clips"], summary["candidates"]) == (5, 15)
    assert "never a result by itself" in summary["caution"]
    written = Predictions.read(tmp_path / "out.json")
    assert all(one.similarity is not None for item in written.items for one in item.candidates or ())
    assert fusion(*judge, "--heads", heads) == 0
    assert "nearest candidate" in capfd.readouterr().out
    stranger = test.model_copy(update={"items": (test.items[0].model_copy(update={"id": "nobody"}),)})
    stranger.write(tmp_path / "test.json")
    assert fusion(*judge, "--heads", heads) == 3
    assert "clip 'nobody' has candidates but no usable audio" in capfd.readouterr().err


def test_align_refuses_settings_that_it_does_not_use(fusion: Callable[..., int], capfd: pytest.CaptureFixture[str]):
    assert fusion("align", "scenes", "--set", "schedule.steps=3") == 2
    assert "dataset.KEY=VALUE, encoder=NAME and heads.KEY=VALUE" in capfd.readouterr().err
    assert fusion("align", "scenes", "--set", "heads.wide=3") == 2
    assert "The keys are text_encoder" in capfd.readouterr().err


def test_the_card_says_what_it_was_made_of(trained: HeadsSimilarity, dataset: PreparedDataset):
    card = trained.card
    assert HeadsCard.model_validate_json(card.canonical_bytes()) == card
    assert card.encoder_sha256 == load_encoder("logmel").fingerprint()
    assert card.settings == SETTINGS
    assert card.parameters == 2 * 1024 * 16 + 16 + 512 * 16 + 16 + 1
