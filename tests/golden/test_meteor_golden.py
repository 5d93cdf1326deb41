"""METEOR equals what the reference implementations computed, to 1e-12."""

from __future__ import annotations

import ast
import csv
import json
import re
import shutil

import numpy as np
import pytest
from fusion_eval.metrics.meteor import COLUMNS, meteor, meteor_of_sums, shared_meteor
from fusion_eval.provision import findings

MISSING = [one.detail for one in findings() if one.name.startswith("METEOR") and not one.present]
pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(shutil.which("java") is None or bool(MISSING), reason=f"Java or {MISSING} is missing"),
]


@pytest.fixture(scope="module")
def golden(shared):
    """Tiny examples with scores and statistics, computed by the reference tools."""
    return json.loads((shared / "data/aac/golden.json").read_text())


@pytest.mark.parametrize("name", ["ex_readme", "ex_0", "ex_audiocaps8", "ex_edges"])
def test_the_examples(name, golden):
    example = golden[name]
    corpus, per_clip = meteor(example["candidates"], example["references"])
    assert corpus == pytest.approx(example["metrics"]["meteor"]["corpus"], abs=1e-12)
    assert per_clip == pytest.approx(example["metrics"]["meteor"]["per_clip"], abs=1e-12)


@pytest.mark.parametrize("name", ["ex_readme", "ex_0", "ex_audiocaps8", "ex_edges"])
def test_the_statistics_are_the_tools_lines_but_for_the_chunks_of_whole_matches(name, golden):
    example = golden[name]
    captions = [text.split() for text in example["tokenized_candidates"]]
    references = [[text.split() for text in texts] for texts in example["tokenized_references"]]
    found_CF = shared_meteor().statistics(captions, references)
    lines_CF = np.array([[float(number) for number in line.split()] for line in example["meteor_stats_lines"]])
    chunks = COLUMNS.index("chunks")
    whole_C = found_CF[:, chunks] != lines_CF[:, chunks]
    assert (found_CF[whole_C, chunks] == 0).all()
    assert (lines_CF[whole_C, chunks] == 1).all()
    assert (meteor_of_sums(found_CF[whole_C]) > 0).all()
    assert (np.delete(found_CF, chunks, axis=1) == np.delete(lines_CF, chunks, axis=1)).all()


def test_a_published_system(shared):
    """CoNeTTE on AudioCaps: 912 clips, and the corpus value from summed statistics."""
    folder = shared / "data/aac/conette"
    with (folder / "outputs_audiocaps_test.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    published = re.search(r"best_fense\.cands\.meteor: (\S+)", (folder / "scores_audiocaps_test.yaml").read_text())
    assert published is not None
    references = [[text.split() for text in ast.literal_eval(row["mrefs"])] for row in rows]
    values_CF = shared_meteor().statistics([row["cands"].split() for row in rows], references)
    assert values_CF.shape == (912, 23)
    per_clip = [float(row["best_fense.cands.meteor"]) for row in rows]
    assert meteor_of_sums(values_CF).tolist() == pytest.approx(per_clip, abs=1e-12)
    assert float(meteor_of_sums(values_CF.sum(axis=0))) == pytest.approx(float(published[1]), abs=1e-12)
