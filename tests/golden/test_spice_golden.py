"""SPICE equals the values that were published with a system, to the last digit."""

from __future__ import annotations

import ast
import csv
import json
import re
import shutil

import pytest
from fusion_eval.metrics.spice import shared_spice, spice
from fusion_eval.provision import findings

MISSING = [one.detail for one in findings() if one.name.startswith("SPICE") and not one.present]
pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(shutil.which("java") is None or bool(MISSING), reason=f"Java or {MISSING} is missing"),
]


def test_eight_clips_of_a_published_system(shared):
    example = json.loads((shared / "data/aac/golden.json").read_text())["ex_audiocaps8"]
    published = example["published_spice_per_clip"]
    assert spice(example["candidates"], example["references"]) == pytest.approx(published, abs=1e-12)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_all_clips_of_a_published_system(shared):
    """CoNeTTE on AudioCaps: 912 clips, 4,815 different texts, parsed once on a machine."""
    folder = shared / "data/aac/conette"
    with (folder / "outputs_audiocaps_test.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    published = re.search(r"best_fense\.cands\.spice: (\S+)", (folder / "scores_audiocaps_test.yaml").read_text())
    assert published is not None
    references = [[text.split() for text in ast.literal_eval(row["mrefs"])] for row in rows]
    found = shared_spice().score([row["cands"].split() for row in rows], references)
    assert len(found) == 912
    assert found == pytest.approx([float(row["best_fense.cands.spice"]) for row in rows], abs=1e-12)
    assert sum(found) / 912 == pytest.approx(float(published[1]), abs=1e-12)
