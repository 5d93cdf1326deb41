"""SPICE equals the values that were published with a system, to the last digit."""

from __future__ import annotations

import ast
import csv
import json
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


# Unparsed texts take about a twentieth of a second each: every clip of the 912 was checked once, here are a quarter of them.
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_fourth_clip_of_a_published_system(shared):
    """CoNeTTE on AudioCaps: 228 of 912 clips, parsed once on a machine."""
    folder = shared / "data/aac/conette"
    with (folder / "outputs_audiocaps_test.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))[::4]
    references = [[text.split() for text in ast.literal_eval(row["mrefs"])] for row in rows]
    found = shared_spice().score([row["cands"].split() for row in rows], references)
    assert len(found) == 228
    assert found == pytest.approx([float(row["best_fense.cands.spice"]) for row in rows], abs=1e-12)
