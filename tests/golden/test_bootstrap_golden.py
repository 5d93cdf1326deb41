"""The bootstrap on a published system's values: CoNeTTE's 912 clips of AudioCaps."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from fusion_eval.bootstrap import SummedValues, bootstrap, means, uncertainty
from scipy import stats

pytestmark = pytest.mark.shared
NAMES = ("spider", "cider_d", "spice")


@pytest.fixture(scope="module")
def published(shared) -> np.ndarray:
    """The published values of each clip, one column a metric."""
    with (shared / "data" / "aac" / "conette" / "outputs_audiocaps_test.csv").open(newline="") as stream:
        return np.array([[float(row[f"best_fense.cands.{name}"]) for name in NAMES] for row in csv.DictReader(stream)])


def test_the_standard_error_of_spider_is_more_than_a_point(published):
    found = bootstrap([SummedValues(NAMES, (means(NAMES, published),))])[0]
    spread = uncertainty(found["spider"])
    assert found["spider"].estimate == pytest.approx(published[:, 0].mean())
    assert spread.standard_error == pytest.approx(published[:, 0].std(ddof=1) / np.sqrt(912), rel=0.02)
    assert spread.standard_error == pytest.approx(0.0137, abs=0.0002)


@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_intervals_of_all_values_at_once_are_scipys_of_each(published, method):
    found = bootstrap([SummedValues(NAMES, (means(NAMES, published),))], 2000, seed=1)[0]
    for place, name in enumerate(NAMES):
        spread = uncertainty(found[name])
        scipys = stats.bootstrap(
            (published[:, place],), np.mean, n_resamples=2000, method=method, rng=np.random.default_rng([1, 0])
        )
        ours = spread.percentile if method == "percentile" else spread.bca
        assert ours == pytest.approx(scipys.confidence_interval, rel=1e-12)
