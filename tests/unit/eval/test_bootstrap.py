"""The bootstrap: the same numbers as scipy's on the same draws, and as metrics computed again on resampled captions."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from fusion_eval.bootstrap import (
    Draws,
    SummedValues,
    bootstrap,
    change_sides,
    histogram,
    means,
    p_recentred,
    p_sign_flip,
    uncertainty,
)
from fusion_eval.errors import ConfigError
from fusion_eval.metrics.base import ScoredClips, SufficientStatistics
from fusion_eval.metrics.bleu import METRIC as BLEU
from fusion_eval.metrics.scene_events import COUNT_ACCURACY, EVENT_F1, ORDER_ACCURACY
from fusion_eval.schemas import SceneEvent, SceneItem
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

WORDS = ["a", "dog", "barks", "while", "rain", "falls", "on", "the", "roof", "and", "bell", "rings", "twice", "then"]
BLEUS = ("bleu_1", "bleu_2", "bleu_3", "bleu_4")


def mean_of(values) -> SummedValues:
    return SummedValues(("m",), (means(["m"], np.asarray(values, dtype=float)[:, None]),))


def ratio(part, whole) -> SummedValues:
    def corpus(sums):
        return {"m": sums[..., 0] / sums[..., 1]}

    return SummedValues(("m",), (SufficientStatistics(("part", "whole"), np.column_stack([part, whole]), corpus),))


def skewed(seed: int, clips: int = 90):
    return np.random.default_rng(seed).gamma(1.5, size=clips)


def sentences(seed: int, clips: int) -> list[str]:
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(WORDS, size=generator.integers(1, 12))) for _ in range(clips)]


@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_intervals_of_a_mean_are_scipys_on_the_same_draws(method):
    values = skewed(1)
    ours = uncertainty(bootstrap([mean_of(values)], 2000, seed=5)[0]["m"])
    scipys = stats.bootstrap((values,), np.mean, n_resamples=2000, method=method, rng=np.random.default_rng([5, 0]))
    found = ours.percentile if method == "percentile" else ours.bca
    assert found == pytest.approx(scipys.confidence_interval, rel=1e-12)
    assert ours.standard_error == pytest.approx(scipys.standard_error, rel=1e-12)


@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_intervals_agree_with_scipys_on_other_draws_within_monte_carlo_error(method):
    values = skewed(2)
    ours = uncertainty(bootstrap([mean_of(values)], 10_000, seed=5)[0]["m"])
    scipys = stats.bootstrap((values,), np.mean, n_resamples=10_000, method=method, rng=np.random.default_rng(77))
    found = ours.percentile if method == "percentile" else ours.bca
    # A quantile q of B draws has the standard error sqrt(q (1 - q) / B) / density, here 0.0268 standard errors.
    assert found == pytest.approx(scipys.confidence_interval, abs=5 * np.sqrt(2) * 0.0268 * ours.standard_error)


@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_intervals_of_a_paired_difference_of_ratios_are_scipys(method):
    columns = [skewed(seed) for seed in range(3, 7)]
    a, b = bootstrap([ratio(*columns[:2]), ratio(*columns[2:])], 1500, seed=8)
    ours = uncertainty(a["m"].minus(b["m"]))

    def statistic(p, q, r, s, axis):
        return p.sum(axis) / q.sum(axis) - r.sum(axis) / s.sum(axis)

    scipys = stats.bootstrap(
        columns, statistic, n_resamples=1500, method=method, paired=True, rng=np.random.default_rng([8, 0])
    )
    found = ours.percentile if method == "percentile" else ours.bca
    assert found == pytest.approx(scipys.confidence_interval, rel=1e-9)


def bleu_of(captions, references) -> SummedValues:
    clips = ScoredClips([str(place) for place in range(len(captions))], captions, references)
    return SummedValues(BLEUS, (BLEU.compute(clips).statistics,))


def bleu_values(captions, references) -> dict[str, float]:
    return BLEU.compute(ScoredClips([""] * len(captions), captions, references)).corpus


def test_corpus_bleu_of_a_resample_is_that_of_the_resampled_captions():
    clips = 37
    captions, references = sentences(1, clips), [sentences(seed, 3) for seed in range(10, 10 + clips)]
    found = bootstrap([bleu_of(captions, references)], 100, seed=3)[0]
    for resample, drawn in enumerate(np.random.default_rng([3, 0]).integers(clips, size=(100, clips))):
        again = bleu_values([captions[clip] for clip in drawn], [references[clip] for clip in drawn])
        assert [found[name].draws_R[resample] for name in BLEUS] == [again[name] for name in BLEUS]


def test_corpus_bleu_with_a_clip_left_out_is_that_of_the_others():
    captions, references = sentences(2, 12), [sentences(seed, 3) for seed in range(40, 52)]
    found = bootstrap([bleu_of(captions, references)], 100)[0]
    for clip in range(12):
        again = bleu_values(captions[:clip] + captions[clip + 1 :], references[:clip] + references[clip + 1 :])
        assert [found[name].jackknife_C[clip] for name in BLEUS] == [again[name] for name in BLEUS]


def test_corpus_bleu_after_changes_of_sides_is_that_of_the_changed_captions():
    clips = 21
    first, second = sentences(4, clips), sentences(5, clips)
    references = [sentences(seed, 2) for seed in range(60, 60 + clips)]
    found = change_sides(bleu_of(first, references), bleu_of(second, references), 100, seed=6)
    drawn = np.frombuffer(np.random.default_rng([6, 1]).bytes(100 * 3), dtype=np.uint8).reshape(100, 3)
    for resample, keeps in enumerate(np.unpackbits(drawn, axis=1, count=clips)):
        a = bleu_values([x if keep else y for x, y, keep in zip(first, second, keeps, strict=True)], references)
        b = bleu_values([y if keep else x for x, y, keep in zip(first, second, keeps, strict=True)], references)
        assert [found[name][resample] for name in BLEUS] == [a[name] - b[name] for name in BLEUS]


def scenes(clips: int):
    """Scenes and captions about them, some without a countable class or a pair in sequence."""
    generator = np.random.default_rng(0)
    classes = ["dog", "rain", "bell", "siren"]
    items, captions = [], []
    for clip in range(clips):
        chosen = generator.permutation(classes)[: generator.integers(1, 4)]
        events = tuple(
            SceneEvent(
                sound_class=name,
                onset=float(place),
                offset=place + 0.5,
                count=int(generator.integers(1, 4)) if generator.random() < 0.4 else None,
                role="foreground",
            )
            for place, name in enumerate(chosen)
        )
        order = ((0, 1),) if len(events) > 1 and generator.random() < 0.6 else ()
        items.append(SceneItem(id=str(clip), events=events, order=order, combination="seen"))
        said = generator.permutation(classes)[: generator.integers(0, 4)]
        captions.append(" then ".join(f"{generator.choice(['one', 'two'])} {name}" for name in said))
    return items, captions


@pytest.mark.parametrize("metric", [EVENT_F1, ORDER_ACCURACY, COUNT_ACCURACY], ids=lambda metric: metric.name)
def test_ratios_of_scene_events_are_those_of_the_resampled_scenes(metric):
    clips = 40
    items, captions = scenes(clips)

    def values_of(chosen):
        return metric.compute(
            ScoredClips(
                [str(place) for place in range(len(chosen))],
                [captions[clip] for clip in chosen],
                [["x"]] * len(chosen),
                scenes=[items[clip] for clip in chosen],
                lexicon={name: [name] for name in ("dog", "rain", "bell", "siren")},
            )
        )

    statistics = values_of(range(clips)).statistics
    names = tuple(statistics.corpus(statistics.values_CF.sum(axis=0)))
    found = bootstrap([SummedValues(names, (statistics,))], 100, seed=1)[0]
    for resample, drawn in enumerate(np.random.default_rng([1, 0]).integers(clips, size=(100, clips))):
        again = values_of(drawn).corpus
        resampled = [found[name].draws_R[resample] for name in names]
        np.testing.assert_array_equal(resampled, [again.get(name, np.nan) for name in names])


def test_values_that_do_not_apply_to_a_clip_are_left_out_of_its_mean():
    values = np.array([1.0, np.nan, 3.0, np.nan, 8.0, 2.0])
    found = bootstrap([mean_of(values)], 200, seed=2)[0]["m"]
    assert found.estimate == pytest.approx(np.nanmean(values))
    drawn = values[np.random.default_rng([2, 0]).integers(6, size=(200, 6))]
    assert found.draws_R == pytest.approx(np.nanmean(drawn, axis=1))


def test_resamples_without_a_value_are_left_out_and_counted():
    values = [np.nan] * 4 + [0.25, 0.5]
    found = bootstrap([mean_of(values)], 5000)[0]["m"]
    spread = uncertainty(found)
    assert spread.undefined == np.count_nonzero(np.isnan(found.draws_R))
    assert spread.undefined / 5000 == pytest.approx((4 / 6) ** 6, abs=0.02)
    assert spread.percentile == (0.25, 0.5)
    assert uncertainty(bootstrap([mean_of([np.nan, np.nan])], 100)[0]["m"]) is None


def test_more_resamples_begin_with_the_same_ones_whatever_is_resampled_beside():
    a, b = mean_of(skewed(1)), mean_of(skewed(2))
    few, many, beside = bootstrap([a], 300, 4), bootstrap([a], 1000, 4), bootstrap([b, a, b], 300, 4)
    assert few[0]["m"].draws_R == pytest.approx(many[0]["m"].draws_R[:300], rel=1e-14)
    assert few[0]["m"].draws_R == pytest.approx(beside[1]["m"].draws_R, rel=1e-14)
    assert bootstrap([a], 300, 5)[0]["m"].draws_R[0] != few[0]["m"].draws_R[0]
    flips = change_sides(a, b, 300, 4)["m"], change_sides(a, b, 1000, 4)["m"]
    assert flips[0] == pytest.approx(flips[1][:300], rel=1e-12)


columns = st.integers(0, 45).flatmap(
    lambda bits: st.lists(st.integers(-(2**bits), 2**bits), min_size=7, max_size=7).map(
        lambda one: [float(x) for x in one]
    )
)


@settings(max_examples=40)
@given(st.lists(columns, min_size=1, max_size=12), st.integers(0, 3))
def test_whole_numbers_of_any_size_and_sign_are_summed_exactly(values, seed):
    names = tuple(f"column_{place}" for place in range(len(values)))
    statistics = SufficientStatistics(
        names, np.array(values).T, lambda sums: {name: sums[..., place] for place, name in enumerate(names)}
    )
    found = bootstrap([SummedValues(names, (statistics,))], 100, seed)[0]
    drawn = np.random.default_rng([seed, 0]).integers(7, size=(100, 7))
    for name, column in zip(names, values, strict=True):
        assert found[name].draws_R.tolist() == [sum(int(column[clip]) for clip in one) for one in drawn]


def test_p_of_sign_flips_is_that_of_all_flips():
    a, b = skewed(1, 12), skewed(2, 12) + 0.4
    difference = bootstrap([mean_of(a), mean_of(b)], 100)
    draws = difference[0]["m"].minus(difference[1]["m"])
    flips = change_sides(mean_of(a), mean_of(b), 20_000)["m"]
    every = np.array(list(product([1, -1], repeat=12))) @ (a - b) / 12
    exact = np.mean(np.abs(every) >= abs((a - b).mean()) - 1e-12)
    assert p_sign_flip(draws, flips) == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 20_000))
    assert set(np.round(flips, 9)) <= set(np.round(every, 9))


def test_p_of_the_recentred_bootstrap_by_its_definition():
    draws = Draws(0.5, np.array([0.4, 0.5, 0.6, 1.0, 0.0, -0.1, 1.2, np.nan]), np.zeros(3), 1.0)
    assert p_recentred(draws) == (1 + 4) / (1 + 7)


def test_equal_systems_differ_by_nothing():
    a, b = bootstrap([mean_of(skewed(1)), mean_of(skewed(1))], 500)
    difference = a["m"].minus(b["m"])
    spread = uncertainty(difference)
    assert (spread.percentile, spread.bca, spread.standard_error) == ((0, 0), (0, 0), 0)
    assert p_recentred(difference) == p_sign_flip(difference, change_sides(mean_of([1, 2]), mean_of([1, 2]))["m"]) == 1
    assert histogram(difference.draws_R, 40) == (0, 0, [500])


def test_bca_does_not_exist_where_every_resample_lies_below_the_value():
    draws = Draws(1.0, np.linspace(0, 0.9, 200), np.linspace(0.8, 0.9, 20), 1.0)
    assert uncertainty(draws).bca is None
    assert uncertainty(draws).percentile == pytest.approx((0.0225, 0.8775))


def test_bca_does_not_exist_where_bias_and_one_clip_leave_no_quantile():
    draws = np.ones(400_001)
    draws[0] = 3.0
    assert uncertainty(Draws(2.0, draws, np.append(np.ones(50), 0.0), 2.0)).bca is None
    assert uncertainty(Draws(2.0, draws, np.append(np.zeros(50), 1.0), 2.0)).bca is not None


def test_systems_that_differ_in_one_clip_have_an_interval():
    values = skewed(3)
    other = values.copy()
    other[7] += 2.0
    a, b = bootstrap([mean_of(other), mean_of(values)], 2000)
    spread = uncertainty(a["m"].minus(b["m"]))
    rounding = 1e-12  # a draw without the clip: the sums agree but for the order of their terms
    assert -rounding <= spread.percentile[0] < spread.percentile[1]
    assert -rounding <= spread.bca[0] < spread.bca[1]


def test_systems_that_differ_equally_in_all_clips_have_an_interval_without_width():
    values = skewed(4)
    a, b = bootstrap([mean_of(values + 0.1), mean_of(values)], 500)
    difference = a["m"].minus(b["m"])
    assert uncertainty(difference).bca == pytest.approx((0.1, 0.1))
    assert histogram(difference.draws_R, 40)[2] == [500]
    assert p_recentred(difference) == 1 / 501


def test_the_histogram_counts_every_draw_that_has_a_value():
    draws = np.append(np.random.default_rng(0).normal(size=1000), np.nan)
    low, high, counts = histogram(draws, 40)
    assert (low, high, sum(counts), len(counts)) == (np.nanmin(draws), np.nanmax(draws), 1000, 40)


@pytest.mark.parametrize(("resamples", "seed", "field"), [(99, 0, "resamples"), (100, -1, "seed")])
def test_what_gives_no_interval_is_refused(resamples, seed, field):
    with pytest.raises(ConfigError, match=field):
        bootstrap([mean_of([1, 2])], resamples, seed)
    with pytest.raises(ConfigError, match=field):
        change_sides(mean_of([1, 2]), mean_of([2, 3]), resamples, seed)


pairs = st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), min_size=2, max_size=30)


@settings(max_examples=25)
@given(pairs, st.integers(0, 3))
def test_exchanging_the_systems_changes_the_signs_and_nothing_else(values, seed):
    a, b = (mean_of(column) for column in zip(*values, strict=True))
    first, second = bootstrap([a, b], 200, seed)
    there, back = first["m"].minus(second["m"]), second["m"].minus(first["m"])
    assert p_recentred(there) == p_recentred(back)
    assert p_sign_flip(there, change_sides(a, b, 200, seed)["m"]) == p_sign_flip(
        back, change_sides(b, a, 200, seed)["m"]
    )
    spread, mirrored = uncertainty(there), uncertainty(back)
    for name in ("percentile", "bca"):
        low, high = getattr(mirrored, name)
        assert getattr(spread, name) == pytest.approx((-high, -low), rel=1e-9, abs=1e-9)
