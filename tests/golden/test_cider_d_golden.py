"""CIDEr-D equals what the reference implementations computed, to 1e-9."""

from __future__ import annotations

import ast
import csv
import json
import re

import pytest
from fusion_eval.metrics.cider_d import CiderD, cider_d
from fusion_eval.metrics.document_frequency import DocumentFrequency
from fusion_eval.tokenize import tokenize, tokenize_all

pytestmark = pytest.mark.shared
EXAMPLES = ("ex_readme", "ex_0", "ex_audiocaps8", "ex_edges")


@pytest.fixture(scope="module")
def golden(shared):
    """Tiny examples with scores and tokens, computed by the reference tools."""
    return json.loads((shared / "data/aac/golden.json").read_text())


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples(name, golden):
    example = golden[name]
    corpus, per_clip = cider_d(example["candidates"], example["references"])
    assert corpus == pytest.approx(example["metrics"]["cider_d"]["corpus"], abs=1e-9)
    assert per_clip == pytest.approx(example["metrics"]["cider_d"]["per_clip"], abs=1e-9)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_tokens_of_the_examples(name, golden):
    example = golden[name]
    assert [" ".join(tokenize(text)) for text in example["candidates"]] == example["tokenized_candidates"]
    tokens = [[" ".join(tokenize(text)) for text in texts] for texts in example["references"]]
    assert tokens == example["tokenized_references"]


def test_the_tokeniser_strings(golden):
    assert len(golden["tokenizer"]) == 23
    for example in golden["tokenizer"]:
        assert tokenize(example["text"]) == example["tokens"]


def test_document_frequencies_of_another_corpus(golden, shared, tmp_path):
    example = golden["ex_cider_d_precomputed_df"]
    with (shared / "data/aac/clotho/clotho_captions_validation.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    corpus = [tokenize_all([row[f"caption_{number}"] for number in range(1, 6)]) for row in rows]
    frequency = DocumentFrequency.from_references(corpus)
    assert frequency.clips == example["n_df_clips"]
    frequency.save(tmp_path / "df.parquet")
    for one in (frequency, DocumentFrequency.load(tmp_path / "df.parquet")):
        mean, per_clip = cider_d(example["candidates"], example["references"], one)
        assert per_clip == pytest.approx(example["per_clip"], abs=1e-9)
        assert mean == pytest.approx(example["mean"], abs=1e-9)


def test_a_published_system(shared):
    """CoNeTTE on AudioCaps. Its scores are of words split at spaces: two references hold an apostrophe."""
    folder = shared / "data/aac/conette"
    with (folder / "outputs_audiocaps_test.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    published = re.search(r"best_fense\.cands\.cider_d: (\S+)", (folder / "scores_audiocaps_test.yaml").read_text())
    assert published is not None
    references = [[text.split() for text in ast.literal_eval(row["mrefs"])] for row in rows]
    scores = CiderD(references).score([row["cands"].split() for row in rows])
    assert len(scores) == 912
    assert scores.tolist() == pytest.approx([float(row["best_fense.cands.cider_d"]) for row in rows], abs=1e-9)
    assert scores.mean() == pytest.approx(float(published[1]), abs=1e-9)
