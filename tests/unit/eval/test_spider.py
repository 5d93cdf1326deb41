"""SPIDEr, its penalty for faulty fluency, and the oracles over candidates."""

from __future__ import annotations

import pytest
from fusion_eval.errors import MissingAssetError
from fusion_eval.metrics.base import ScoredClips
from fusion_eval.metrics.cider_d import cider_d
from fusion_eval.metrics.spider import CIDER_D_MAX, SPIDER, SPIDER_FL, SPIDER_MAX, spider, spider_fl

REFERENCES = [["a dog barks loudly", "a dog is barking"], ["rain falls on a roof"], ["a bell rings twice"]]


def _clips(captions, candidates=None, **parts):
    return ScoredClips(["1", "2", "3"], captions, REFERENCES, candidates, parts=parts.__getitem__)


def test_spider_is_the_mean_of_its_parts():
    clips = _clips(["a", "b", "c"], cider_d=[1.0, 0.5, 0.0], spice=[0.2, 0.1, 0.0])
    values = SPIDER.compute(clips)
    assert values.per_clip["spider"] == pytest.approx([0.6, 0.3, 0.0])
    assert values.corpus["spider"] == pytest.approx(0.3)
    assert values.definition["spider"]["df"] == "scored references"


def test_faulty_fluency_costs_nine_tenths_strictly_above_the_threshold():
    clips = _clips(
        ["a", "b", "c"], cider_d=[1.0, 1.0, 1.0], spice=[1.0, 1.0, 1.0], error_probability=[0.9, 0.9 + 1e-9, 0.0]
    )
    assert SPIDER_FL.compute(clips).per_clip["spider_fl"] == pytest.approx([1.0, 0.1, 1.0])
    assert spider_fl(spider([2.0], [0.0]), [1.0]) == pytest.approx([0.1])


def test_a_part_that_cannot_be_had_says_why():
    def part(name):
        raise MissingAssetError(f"no {name} here.")

    with pytest.raises(MissingAssetError, match="no cider_d here"):
        SPIDER.compute(ScoredClips(["1"], ["a"], [["a"]], parts=part))


def test_the_oracle_takes_the_best_candidate_with_the_df_of_the_scored_references():
    captions = ["a dog barks", "rain falls", "a bell rings"]
    candidates = [["a cat", "a dog barks"], [], ["a bell rings twice", "a bell rings", "noise"]]
    values = CIDER_D_MAX.compute(_clips(captions, candidates))
    best = ["a dog barks", "rain falls", "a bell rings twice"]
    assert values.per_clip["cider_d_max"] == pytest.approx(cider_d(best, REFERENCES)[1])
    assert CIDER_D_MAX.oracle
    assert SPIDER_MAX.oracle
    assert values.definition["cider_d_max"]["chosen"] == "by the references"


def test_the_oracle_is_never_worse_than_the_chosen_caption_among_its_candidates():
    captions = ["a dog barks", "rain falls", "a bell rings"]
    candidates = [[caption, "a dog is barking"] for caption in captions]
    best = CIDER_D_MAX.compute(_clips(captions, candidates)).per_clip["cider_d_max"]
    assert all(top >= own for top, own in zip(best, cider_d(captions, REFERENCES)[1], strict=True))


def test_spider_max_adds_each_candidates_spice(monkeypatch):
    module = pytest.importorskip("fusion_eval.metrics.spice")
    asked = {}

    def spice(captions, references, *_, **__):
        asked.update(zip(captions, references, strict=True))
        return [1.0 if "cat" in caption else 0.0 for caption in captions]

    monkeypatch.setattr(module, "spice", spice)
    captions = ["a dog barks", "rain falls", "a bell rings"]
    candidates = [["a cat", "a dog barks"], ["rain falls"], ["a bell rings"]]
    values = SPIDER_MAX.compute(_clips(captions, candidates)).per_clip["spider_max"]
    alone = cider_d(captions, REFERENCES)[1]
    assert values[0] == pytest.approx(max(0.5, alone[0] / 2))
    assert values[1:] == pytest.approx([alone[1] / 2, alone[2] / 2])
    assert asked["a cat"] == REFERENCES[0]
