"""`fusion train audiocaps` on a folder shaped like AudioCaps, a part of it missing: from the tables to scores over all clips."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fusion_eval.schemas import References, RunCard, Scores

pytestmark = pytest.mark.slow
CLIPS_OF_TEST = 7
WITHOUT_AUDIO = ("test0000003", "test0000005")


def test_a_training_on_what_could_be_had_is_scored_over_all(
    tmp_path: Path, fusion_here: Callable[..., Any], write_audiocaps: Callable[[Path, Path], None]
) -> None:
    write_audiocaps(tmp_path / "csv", tmp_path / "wav")
    train = ("train", "audiocaps", "--system", "additive", "--profile", "tiny", "--json", "--out")
    refused = fusion_here(tmp_path, *train, "refused")
    assert refused.returncode == 3
    assert "run `fusion data prepare audiocaps --csv-dir DIR --audio-dir DIR`" in refused.stderr
    prepare = ("data", "prepare", "audiocaps", "--csv-dir", "csv", "--audio-dir", "wav", "--json")
    prepared = json.loads(fusion_here(tmp_path, *prepare).stdout)
    assert prepared["splits"]["test"] == {"ok": 5, "missing": 1, "corrupt": 1, "too_short": 0}
    assert "scored over 7 clips; 2 without usable audio" in prepared["denominators"][-1]
    done = fusion_here(tmp_path, *train, "run")
    assert done.returncode == 0, done.stderr
    assert "test: scored over 7 clips; 2 without usable audio (1 missing, 1 corrupt)" in done.stderr
    references = References.read(tmp_path / "data" / "audiocaps" / "references" / "test.json")
    for condition in ("audio", "shuffled", "none"):
        scores = Scores.read(tmp_path / "run" / "scores" / f"{condition}.json")
        assert scores.references_sha256 == references.sha256()
        assert scores.n == len(scores.per_clip) == CLIPS_OF_TEST
        assert scores.missing == WITHOUT_AUDIO
        values = {clip.id: clip.values["cider_d"] for clip in scores.per_clip}
        assert all(values[clip] == 0 for clip in WITHOUT_AUDIO)
    card = RunCard.read(tmp_path / "run" / "run_card.json")
    assert card.dataset.counts_by_status == {"ok": 19, "missing": 3, "corrupt": 1, "too_short": 0}
