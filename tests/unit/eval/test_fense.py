"""FENSE's parts come from local weights or given columns, and say what is missing; nothing is downloaded."""

from __future__ import annotations

import json

import numpy as np
import pytest
from fusion_eval import fense_assets
from fusion_eval.errors import DataError, MissingAssetError
from fusion_eval.fense_assets import DETECTOR, DETECTOR_ENCODER, SENTENCE_ENCODER, find_asset
from fusion_eval.files import sha256_file
from fusion_eval.metrics.base import Resources
from fusion_eval.metrics.fense import error_probabilities, sentence_similarities
from fusion_eval.schemas.predictions import Predictions
from fusion_eval.schemas.references import References
from fusion_eval.scoring import score

CAPTIONS = ["A dog barks.", "Rain falls, and falls and", "a man speaks"]
REFERENCES = [["a dog barks", "a dog is barking"], ["rain falls"], ["a man speaks", "a man is speaking", "speech"]]


def _files() -> tuple[Predictions, References]:
    common = {"dataset": "demo", "split": "test"}
    items = [{"id": str(n), "caption": caption} for n, caption in enumerate(CAPTIONS)]
    truth = [{"id": str(n), "references": texts} for n, texts in enumerate(REFERENCES)]
    return (
        Predictions.model_validate(common | {"system": "mine", "items": items}),
        References.model_validate(common | {"items": truth}),
    )


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Return a folder with random weights in the layout of the published ones."""
    pytest.importorskip("aac_metrics")
    import torch
    from aac_metrics.functional.fer import BERTFlatClassifier
    from sentence_transformers import SentenceTransformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("fense")
    torch.manual_seed(0)
    words = sorted({word for text in CAPTIONS for word in text.lower().replace(".", "").replace(",", "").split()})
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]))
    config = BertConfig(vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    for name in (DETECTOR_ENCODER, SENTENCE_ENCODER):
        BertModel(config).save_pretrained(folder / name)
        BertTokenizerFast(vocab_file=str(folder / "vocab.txt")).save_pretrained(folder / name)
    SentenceTransformer(str(folder / SENTENCE_ENCODER)).save(str(folder / SENTENCE_ENCODER))
    model = BERTFlatClassifier(model_type=str(folder / DETECTOR_ENCODER), num_classes=6)
    states = model.state_dict() | {"encoder.embeddings.position_ids": torch.arange(512)[None]}
    content = {"model_type": "bert-base-uncased", "num_classes": 6, "state_dict": states}
    torch.save(content, folder / f"{DETECTOR}.ckpt")
    return folder


@pytest.fixture
def accepted(weights, monkeypatch):
    """Return the folder, its detector taken for the published one."""
    found = sha256_file(weights / f"{DETECTOR}.ckpt")
    monkeypatch.setattr(fense_assets, "DETECTOR_SHA256", found)
    return weights


def test_values_come_from_the_local_weights(accepted):
    scores = score(
        *_files(), metrics=["fense", "fer", "sbert_sim", "error_probability"], resources=Resources(assets=accepted)
    )
    assert scores.unavailable == {}
    similarity = np.array([clip.values["sbert_sim"] for clip in scores.per_clip])
    probability = np.array([clip.values["error_probability"] for clip in scores.per_clip])
    assert ((probability > 0) & (probability < 1)).all()
    assert (np.abs(similarity) <= 1 + 1e-6).all()
    assert [clip.values["fense"] for clip in scores.per_clip] == pytest.approx(
        similarity * np.where(probability > 0.9, 0.1, 1.0)
    )
    assert scores.tools["aac-metrics"] == "0.5.4"


def test_the_detector_reads_lower_case_without_punctuation_in_any_batch(accepted):
    together = error_probabilities(CAPTIONS, accepted)
    assert together == pytest.approx(error_probabilities([text.upper() + "!" for text in CAPTIONS], accepted), abs=1e-6)
    assert together == pytest.approx([error_probabilities([text], accepted)[0] for text in CAPTIONS], abs=1e-6)
    assert len(set(together)) > 1


def test_similarity_of_a_caption_with_itself_is_one(accepted):
    assert sentence_similarities(["a dog barks"], [["a dog barks", "a dog barks"]], accepted) == pytest.approx([1.0])


def test_another_detector_is_refused(weights):
    with pytest.raises(DataError, match="SHA-256"):
        error_probabilities(CAPTIONS, weights)


def test_absent_weights_are_named_and_the_rest_is_scored(tmp_path):
    scores = score(*_files(), metrics=["cider_d", "fense", "fer"], resources=Resources(assets=tmp_path))
    assert set(scores.metrics) == {"cider_d"}
    assert set(scores.unavailable) == {"fense", "fer"}
    assert "--assets" in scores.unavailable["fer"]


def test_caches_of_other_tools_are_looked_into(tmp_path, monkeypatch):
    monkeypatch.setenv("FENSE_DATA", str(tmp_path))
    with pytest.raises(MissingAssetError, match="aac-metrics-download"):
        find_asset(f"{DETECTOR}.ckpt")
    (tmp_path / f"{DETECTOR}.ckpt").write_bytes(b"x")
    assert find_asset(f"{DETECTOR}.ckpt") == tmp_path / f"{DETECTOR}.ckpt"


@pytest.mark.parametrize("probability", [0.9, 0.9000001])
def test_given_columns_take_the_place_of_models_and_the_threshold_is_strict(probability):
    columns = {"error_probability": [0.0, probability, 0.2], "sbert_sim": [0.5, 0.6, 0.7]}
    scores = score(*_files(), metrics=["fense", "fer"], resources=Resources(columns=columns))
    faulty = probability > 0.9
    assert scores.per_clip[1].values == pytest.approx({"fense": 0.06 if faulty else 0.6, "fer": float(faulty)})
    assert scores.metrics["fer"] == pytest.approx(faulty / 3)


def test_a_column_of_another_length_is_refused():
    with pytest.raises(DataError, match="2 values for 3 clips"):
        score(*_files(), metrics=["fer"], resources=Resources(columns={"error_probability": [0.1, 0.2]}))


@pytest.mark.shared
def test_published_fense_from_its_published_parts(shared):
    import polars

    table = polars.read_csv(shared / "data/aac/conette/outputs_audiocaps_test.csv", infer_schema_length=None)
    prefix = "best_fense.cands."
    columns = {
        "error_probability": table[f"{prefix}fer.error_prob"].to_list(),
        "sbert_sim": table[f"{prefix}sbert_sim"].to_list(),
    }
    common = {"dataset": "audiocaps", "split": "test"}
    ids = table["fname"].to_list()
    predictions = common | {"system": "conette", "items": [{"id": name, "caption": "x"} for name in ids]}
    references = common | {"items": [{"id": name, "references": ["x"]} for name in ids]}
    scores = score(
        Predictions.model_validate_json(json.dumps(predictions)),
        References.model_validate_json(json.dumps(references)),
        metrics=["fense", "fer"],
        resources=Resources(columns=columns),
    )
    found = np.array([[clip.values["fense"], clip.values["fer"]] for clip in scores.per_clip])
    published = table.select(f"{prefix}fense", f"{prefix}fer").to_numpy()
    assert np.abs(found - published).max() < 1e-9
    assert scores.metrics["fense"] == pytest.approx(0.6081119648605715, abs=1e-9)
    assert scores.metrics["fer"] == pytest.approx(0.005482456140350877, abs=1e-12)
