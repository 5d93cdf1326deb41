"""Values resampled from scores files alone equal those resampled from captions and references."""

from __future__ import annotations

import numpy as np
import pytest
from fusion_eval.bootstrap import bootstrap, uncertainty
from fusion_eval.comparing import compare
from fusion_eval.comparing_scores import compare_scores, measure_scores
from fusion_eval.errors import DataError
from fusion_eval.schemas import Predictions, References
from fusion_eval.scoring import score
from fusion_eval.stored_statistics import summed_values

REFERENCES = References.from_captions(
    {
        f"clip-{n:02d}": [f"a {animal} {verb} in the {place}", f"the {animal} {verb}"]
        for n, (animal, verb, place) in enumerate(
            (animal, verb, place)
            for animal in ("dog", "bird", "cat")
            for verb in ("barks", "sings")
            for place in ("yard", "rain", "house")
        )
    }
)
METRICS = ("cider_d", "bleu", "rouge_l", "vocabulary")
NAMES = ("cider_d", "bleu_1", "bleu_4", "rouge_l", "vocabulary")


def said(shift: int, system: str = "s") -> Predictions:
    """Captions of which some are right: the references of another clip, ``shift`` places on."""
    items = REFERENCES.items
    captions = {
        item.id: items[(n + (shift if n % 3 else 0)) % len(items)].references[n % 2] for n, item in enumerate(items)
    }
    return Predictions.from_captions(captions, system)


def test_intervals_from_files_are_those_of_a_comparison():
    a, b = [said(1), said(2)], [said(5), said(7)]
    by_captions = compare(a, b, REFERENCES, METRICS, resamples=500)
    sides = [summed_values([score(one, REFERENCES, METRICS) for one in side], NAMES) for side in (a, b)]
    drawn = bootstrap(sides, resamples=500)
    for name in ("cider_d", "bleu_1", "bleu_4", "rouge_l"):
        difference = uncertainty(drawn[0][name].minus(drawn[1][name]))
        expected = by_captions.metrics[name].difference.spread
        assert difference.percentile == pytest.approx((expected.percentile.low, expected.percentile.high), abs=1e-12)
        assert drawn[0][name].estimate == pytest.approx(by_captions.metrics[name].a.value, abs=1e-12)


def test_a_comparison_of_files_is_that_of_the_captions_in_all_its_numbers():
    sides = [said(1), said(2)], [said(5), said(7)]
    expected = compare(*sides, REFERENCES, METRICS, resamples=300).metrics
    files = [[score(one, REFERENCES, METRICS) for one in side] for side in sides]
    found = compare_scores(*files, NAMES, resamples=300).metrics
    for name in ("cider_d", "bleu_4", "rouge_l"):
        assert found[name].difference.p == expected[name].difference.p
        assert found[name].difference.p_sign_flip == expected[name].difference.p_sign_flip
        assert found[name].difference.histogram == expected[name].difference.histogram
        assert found[name].a.seeds == expected[name].a.seeds
    assert found["vocabulary"].difference.spread is None
    assert found["vocabulary"].reason
    alone = measure_scores(files[0], NAMES, resamples=300)["bleu_4"]
    assert alone.spread == found["bleu_4"].a.spread


def test_sides_about_different_clips_are_refused():
    whole = score(said(1), REFERENCES, METRICS)
    part = whole.model_copy(update={"references_sha256": "0" * 64})
    with pytest.raises(DataError, match="different clips or references"):
        compare_scores([whole], [part], NAMES)
    with pytest.raises(DataError, match="no scores"):
        compare_scores([], [whole], NAMES)


def test_a_value_that_is_no_sum_is_left_out():
    """The vocabulary is a count over the whole corpus: no clip has a share of it."""
    assert summed_values([score(said(1), REFERENCES, METRICS)], NAMES).names == (
        "cider_d",
        "bleu_1",
        "bleu_4",
        "rouge_l",
    )


def test_a_file_whose_sums_contradict_it_is_not_resampled():
    scores = score(said(1), REFERENCES, METRICS)
    altered = scores.model_copy(update={"metrics": scores.metrics | {"bleu_4": 0.9}})
    assert "bleu_4" not in summed_values([altered], NAMES).names
    assert "bleu_1" in summed_values([altered], NAMES).names


def test_the_order_of_the_clips_changes_nothing():
    scores = score(said(1), REFERENCES, METRICS)
    turned = scores.model_copy(
        update={
            "per_clip": scores.per_clip[::-1],
            "statistics": {
                name: kept.model_copy(update={"per_clip": kept.per_clip[::-1]})
                for name, kept in scores.statistics.items()
            },
        }
    )
    one, other = (bootstrap([summed_values([each], NAMES)], resamples=200)[0] for each in (scores, turned))
    np.testing.assert_array_equal(one["bleu_4"].draws_R, other["bleu_4"].draws_R)


def test_seeds_about_different_clips_are_refused():
    scores = score(said(1), REFERENCES, METRICS)
    other = scores.model_copy(update={"per_clip": scores.per_clip[1:]})
    with pytest.raises(DataError, match="different clips"):
        summed_values([scores, other], NAMES)
    with pytest.raises(DataError, match="no scores"):
        summed_values([], NAMES)
