"""BLEU, ROUGE-L, CIDEr-D, SPIDEr and diversity equal what the reference tools computed and what was published."""

from __future__ import annotations

import ast
import csv
import json

import numpy as np
import pytest
from fusion_eval.metrics.base import ScoredClips
from fusion_eval.metrics.bleu import METRIC as BLEU
from fusion_eval.metrics.bleu import bleu
from fusion_eval.metrics.cider_d import METRIC as CIDER_D
from fusion_eval.metrics.diversity import METRIC as DIVERSITY
from fusion_eval.metrics.rouge_l import METRIC as ROUGE_L
from fusion_eval.metrics.rouge_l import rouge_l
from fusion_eval.metrics.spider import SPIDER, SPIDER_FL

pytestmark = pytest.mark.shared
EXAMPLES = ("ex_readme", "ex_0", "ex_audiocaps8", "ex_edges")
BLEU_NAMES = ("bleu_1", "bleu_2", "bleu_3", "bleu_4")
PREFIX = "best_fense.cands."


@pytest.fixture(scope="module")
def golden(shared):
    """Tiny examples with scores and tokens, computed by the reference tools."""
    return json.loads((shared / "data/aac/golden.json").read_text())


class Published:
    """CoNeTTE on AudioCaps: its 912 captions and references, and what was published of them."""

    def __init__(self, folder):
        with (folder / "outputs_audiocaps_test.csv").open(newline="") as stream:
            self.rows = list(csv.DictReader(stream))
        lines = (folder / "scores_audiocaps_test.yaml").read_text().splitlines()
        self.corpus = {name.split("/")[1].removeprefix(PREFIX): float(v) for name, v in (s.split(": ") for s in lines)}
        self.clips = ScoredClips(
            ids=[row["fname"] for row in self.rows],
            captions=[row["cands"] for row in self.rows],
            references=[ast.literal_eval(row["mrefs"]) for row in self.rows],
            parts=self.column,
        )
        # The published values are of words split at spaces, which differs from our tokens in two references.
        self.clips.__dict__["caption_tokens"] = [text.split() for text in self.clips.captions]
        self.clips.__dict__["reference_tokens"] = [[text.split() for text in texts] for texts in self.clips.references]

    def column(self, name):
        published = "fer.error_prob" if name == "error_probability" else name
        return [float(row[PREFIX + published]) for row in self.rows]


@pytest.fixture(scope="module")
def published(shared):
    return Published(shared / "data/aac/conette")


@pytest.mark.parametrize("name", EXAMPLES)
def test_bleu_of_the_examples(name, golden):
    example = golden[name]
    corpus, per_clip = bleu(example["candidates"], example["references"])
    for metric in BLEU_NAMES:
        assert corpus[metric] == pytest.approx(example["metrics"][metric]["corpus"], rel=1e-9, abs=1e-30)
        assert per_clip[metric] == pytest.approx(example["metrics"][metric]["per_clip"], rel=1e-9, abs=1e-30)


@pytest.mark.parametrize("name", EXAMPLES)
def test_rouge_l_of_the_examples(name, golden):
    example = golden[name]
    corpus, per_clip = rouge_l(example["candidates"], example["references"])
    assert corpus == pytest.approx(example["metrics"]["rouge_l"]["corpus"], abs=1e-12)
    assert per_clip == pytest.approx(example["metrics"]["rouge_l"]["per_clip"], abs=1e-12)


@pytest.mark.parametrize("metric", [BLEU, ROUGE_L, CIDER_D, SPIDER, SPIDER_FL], ids=lambda metric: metric.name)
def test_a_published_system(metric, published, record_property):
    values = metric.compute(published.clips)
    for name, corpus in values.corpus.items():
        own = np.array(values.per_clip[name])
        theirs = np.array(published.column(name))
        assert len(own) == 912
        largest = float(max(np.abs(own - theirs).max(), abs(corpus - published.corpus[name])))
        record_property(name, largest)
        print(f"{name}: largest difference {largest:.1e}")
        assert largest <= 1e-9


def test_the_diversity_of_a_published_system(published):
    values = DIVERSITY.compute(published.clips)
    pairs = {
        "distinct_1": "sents_div1.cands",
        "distinct_2": "sents_div2.cands",
        "distinct_1_corpus": "corpus_div1.cands",
        "distinct_2_corpus": "corpus_div2.cands",
        "caption_length": "sent_len.cands",
        "vocabulary": "vocab_len.cands",
    }
    for own, theirs in pairs.items():
        assert values.corpus[own] == pytest.approx(published.corpus[theirs], abs=1e-9)
    assert values.per_clip["distinct_1"] == pytest.approx(published.column("sents_div1.cands"), abs=1e-9)


def test_the_spider_of_the_eight_clips(golden):
    example = golden["ex_audiocaps8"]
    parts = {"cider_d": example["metrics"]["cider_d"]["per_clip"], "spice": example["published_spice_per_clip"]}
    clips = ScoredClips(example["fname"], example["candidates"], example["references"], parts=parts.__getitem__)
    spider = SPIDER.compute(clips).per_clip["spider"]
    assert spider == pytest.approx(example["derived_spider_per_clip"], abs=1e-12)
