"""Over many samples from a known population, intervals hold the truth as often as they say, and p is uniform."""

from __future__ import annotations

import numpy as np
from fusion_eval.bootstrap import (
    SummedValues,
    bootstrap,
    change_sides,
    means,
    p_recentred,
    p_sign_flip,
    uncertainty,
)
from fusion_eval.metrics.base import SufficientStatistics
from scipy import stats

SIMULATIONS, CLIPS = 1000, 200
DEVIATIONS = 3  # of a share or a test that are taken for noise


def _ratio(sums):
    return {"ratio": sums[..., 0] / sums[..., 1]}


def _system(generator, clip_effect, shift) -> SummedValues:
    """A system whose clips are as hard as the other's: a mean of skewed values, and a ratio of summed counts."""
    values = clip_effect + generator.gamma(2.0, size=CLIPS) + shift
    whole = 5 + generator.poisson(5, size=CLIPS)
    part = generator.binomial(whole, 1 / (1 + np.exp(-clip_effect / 2 - shift)))
    counts = SufficientStatistics(("part", "whole"), np.column_stack([part, whole]).astype(float), _ratio)
    return SummedValues(("mean", "ratio"), (means(["mean"], values[:, None]), counts))


def _simulate(shift: float, resamples: int):
    """Give, simulation by simulation, the differences of two systems and what comes of flips."""
    for simulation in range(SIMULATIONS):
        generator = np.random.default_rng([17, simulation])
        effect = generator.normal(size=CLIPS)
        a, b = _system(generator, effect, shift), _system(generator, effect, 0.0)
        first, second = bootstrap([a, b], resamples, simulation)
        flips = change_sides(a, b, resamples, simulation)
        yield {name: (first[name].minus(second[name]), flips[name]) for name in a.names}


def _true_ratio(shift: float) -> float:
    """The expected ratio: the mean of the logistic function over the clips' effects, by quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    return float(weights @ (1 / (1 + np.exp(-nodes / 2 - shift))) / weights.sum())


def test_intervals_hold_the_true_difference_95_times_in_100():
    shift = 0.3
    truth = {"mean": shift, "ratio": _true_ratio(shift) - _true_ratio(0.0)}
    held = {(name, kind): 0 for name in truth for kind in ("percentile", "bca")}
    for values in _simulate(shift, resamples=999):  # few draws would make the outermost quantiles too narrow
        for name, kind in held:
            low, high = getattr(uncertainty(values[name][0]), kind)
            held[name, kind] += low <= truth[name] <= high
    noise = np.sqrt(0.95 * 0.05 / SIMULATIONS)
    for key, count in held.items():
        assert abs(count / SIMULATIONS - 0.95) < DEVIATIONS * noise, key


def test_p_is_uniform_where_the_systems_do_not_differ():
    found = {(name, kind): [] for name in ("mean", "ratio") for kind in ("bootstrap", "flips")}
    for values in _simulate(0.0, resamples=499):
        for name, (difference, flips) in values.items():
            found[name, "bootstrap"].append(p_recentred(difference))
            found[name, "flips"].append(p_sign_flip(difference, flips))
    for key, ps in found.items():
        assert stats.kstest(ps, "uniform").pvalue > stats.norm.sf(DEVIATIONS), key
