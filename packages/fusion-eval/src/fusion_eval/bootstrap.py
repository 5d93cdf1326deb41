"""Bootstrap and randomisation of corpus values, all metrics and systems over the same resamples of clips.

A corpus value is a function of sums over clips of some columns, so the values of R resamples need one matrix product:
how often each clip was drawn in each resample, times the columns. A clip's columns do not change with the resample, so
document frequencies in CIDEr-D stay those of the whole scored set.

- Percentile and BCa intervals: Efron, "Better Bootstrap Confidence Intervals", JASA 1987; the acceleration comes from
  the exact jackknife, the totals less one clip's columns.
- Bootstrap p, two-sided, of no difference: the resampled differences are moved to centre on 0, which is the null, and
  p = (1 + k) / (1 + R), where k of them lie as far from 0 as the difference found: |d* - d| >= |d|.
- Sign-flip p: under the null the names of the two systems mean nothing within a clip, so each clip's columns change
  sides with probability 1/2 (Noreen, "Computer-Intensive Methods for Testing Hypotheses", 1989); p as above, |d*| >= |d|.

Random numbers are numpy's PCG64, seeded by (seed, 0) for the resamples and by (seed, 1) for the changes of sides; equal
seeds give equal resamples whatever the metrics and systems are.

Legend: C clips, F columns, K of them one a mean, G columns that are summed together as one, R resamples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fusion_eval.errors import ConfigError
from fusion_eval.metrics.base import SufficientStatistics
from fusion_eval.ngrams import Floats

RESAMPLES = 10_000
CONFIDENCE = 0.95
FEWEST_RESAMPLES = 100

_CHUNK = 64  # resamples handled together, so that their counts stay in the processor's cache
_EXACT_BITS = 53  # of whole numbers that a double holds exactly
_TIE = 1e-12  # differences between values that are smaller than this share of them are rounding
_DRAWS, _SIDES = 0, 1  # streams of random numbers

Integers = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class SummedValues:
    """The corpus values of a system, by name, and the columns that they are computed from.

    Args:
        names: the values, in order; each is one that ``parts`` give.
        parts: statistics over the same clips, in the same order.
    """

    names: tuple[str, ...]
    parts: tuple[SufficientStatistics, ...]

    @property
    def columns(self) -> Floats:
        """The columns of all parts."""
        return np.hstack([part.values_CF for part in self.parts])

    def corpus(self, sums_F: Floats) -> dict[str, Floats]:
        """Return the values by name, of shape (…), from sums of shape (…, F); one that does not exist is not finite."""
        found: dict[str, Floats] = {}
        start = 0
        with np.errstate(divide="ignore", invalid="ignore"):
            for part in self.parts:
                stop = start + part.values_CF.shape[1]
                found |= part.corpus(sums_F[..., start:stop])
                start = stop
        return {name: found[name] for name in self.names}


@dataclass(frozen=True)
class Draws:
    """A value of all clips, of each resample, and with each clip left out; one that does not exist is NaN.

    ``scale`` is the size of the numbers that it was computed from: what is far smaller is rounding.
    """

    estimate: float
    draws_R: Floats
    jackknife_C: Floats
    scale: float

    def minus(self, other: Draws) -> Draws:
        """Return the differences to another value in the same resamples."""
        return Draws(
            self.estimate - other.estimate,
            self.draws_R - other.draws_R,
            self.jackknife_C - other.jackknife_C,
            max(self.scale, other.scale),
        )


@dataclass(frozen=True)
class Uncertainty:
    """How far a value would move with other clips.

    ``undefined`` resamples have no value, such as a share of nothing, and are left out. The BCa interval is None where
    it does not exist: all resamples, or nearly all, lie on one side of the value, or no clip can be left out.
    """

    standard_error: float
    percentile: tuple[float, float]
    bca: tuple[float, float] | None
    undefined: int


def means(names: Sequence[str], values_CK: Floats) -> SufficientStatistics:
    """Return the statistics of means over the clips that a value applies to; elsewhere it is NaN."""
    applies_CK = np.isfinite(values_CK)
    columns = np.hstack([np.where(applies_CK, values_CK, 0.0), applies_CK])
    count = len(names)

    def corpus(sums_F: Floats) -> dict[str, Floats]:
        return {name: sums_F[..., place] / sums_F[..., count + place] for place, name in enumerate(names)}

    return SufficientStatistics((*names, *(f"{name}_applies" for name in names)), columns, corpus)


def check_resampling(resamples: int, seed: int) -> None:
    """Refuse a number of resamples that gives no interval, and a seed that numpy does not take.

    Raises:
        ConfigError: there are too few resamples, or the seed is negative.
    """
    if resamples < FEWEST_RESAMPLES:
        raise ConfigError(f"resamples: {resamples} are too few for an interval; take at least {FEWEST_RESAMPLES}.")
    if seed < 0:
        raise ConfigError(f"seed: {seed} is negative; take 0 or more.")


def bootstrap(systems: Sequence[SummedValues], resamples: int = RESAMPLES, seed: int = 0) -> list[dict[str, Draws]]:
    """Return each system's values by name, all in the same resamples of the clips.

    Raises:
        ConfigError: there are too few resamples, or the seed is negative.
    """
    check_resampling(resamples, seed)
    columns = [system.columns for system in systems]
    counts = _count_draws(len(columns[0]), resamples, np.random.default_rng([seed, _DRAWS]))
    sums_RF = _sum(np.hstack(columns), counts, resamples)
    ends = np.cumsum([own_CF.shape[1] for own_CF in columns])[:-1]
    found = []
    for system, own_CF, own_RF in zip(systems, columns, np.split(sums_RF, ends, axis=1), strict=True):
        total_F = own_CF.sum(axis=0)
        estimates, draws, jackknives = map(system.corpus, (total_F, own_RF, total_F - own_CF))
        found.append(
            {
                name: Draws(float(estimates[name]), draws[name], jackknives[name], abs(float(estimates[name])))
                for name in system.names
            }
        )
    return found


def change_sides(a: SummedValues, b: SummedValues, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Floats]:
    """Return the differences a - b by name, each of shape (R,), after each clip kept or changed its side at random.

    Raises:
        ConfigError: there are too few resamples, or the seed is negative.
    """
    check_resampling(resamples, seed)
    a_CF, b_CF = a.columns, b.columns
    keeps = _draw_keeps(len(a_CF), resamples, np.random.default_rng([seed, _SIDES]))
    kept_RF = _sum(a_CF - b_CF, keeps, resamples)
    first, second = a.corpus(b_CF.sum(axis=0) + kept_RF), b.corpus(a_CF.sum(axis=0) - kept_RF)
    return {name: first[name] - second[name] for name in a.names}


def uncertainty(values: Draws) -> Uncertainty | None:
    """Return how far a value would move with other clips; None where fewer than two resamples have one."""
    defined_R = _defined(values.draws_R)
    if len(defined_R) < 2:
        return None
    tail = (1 - CONFIDENCE) / 2
    levels = [tail, 1 - tail]
    accelerated = _accelerate(levels, values, defined_R)
    found = np.quantile(defined_R, levels + (accelerated or [])).tolist()
    return Uncertainty(
        standard_error=float(defined_R.std(ddof=1)),
        percentile=(found[0], found[1]),
        bca=(found[2], found[3]) if accelerated else None,
        undefined=len(values.draws_R) - len(defined_R),
    )


def p_recentred(difference: Draws) -> float:
    """Return the two-sided p of no difference, from bootstrap differences moved to centre on 0."""
    return _p(difference, _defined(difference.draws_R) - difference.estimate)


def p_sign_flip(difference: Draws, flips_R: Floats) -> float:
    """Return the two-sided p of no difference, from the differences after clips changed sides."""
    return _p(difference, _defined(flips_R))


def histogram(draws_R: Floats, bins: int) -> tuple[float, float, list[int]]:
    """Return the ends of the range of the values, and how many lie in each of its equal parts."""
    defined_R = _defined(draws_R)
    low, high = float(defined_R.min()), float(defined_R.max())
    if high - low <= _TIE * max(abs(low), abs(high)):
        return low, high, [len(defined_R)]
    counts, _ = np.histogram(defined_R, bins=bins, range=(low, high))
    return low, high, counts.tolist()


def _sum(columns_CF: Floats, weights: Iterator[tuple[slice, Integers]], resamples: int) -> Floats:
    """Return weights_RC @ columns_CF, given the weights chunk by chunk; each column of the result is contiguous."""
    columns_FC, places = _distinct(columns_CF)
    groups = _group(columns_FC)
    carriers_GC = np.stack([_pack(columns_FC, group) for group in groups])
    carried_GR = np.empty((len(groups), resamples))
    for chunk, weights_RC in weights:
        carried_GR[:, chunk] = carriers_GC @ weights_RC.astype(np.float64).T
    sums_FR = np.empty((len(columns_FC), resamples))
    for group, carried_R in zip(groups, carried_GR, strict=True):
        _unpack(carried_R, group, sums_FR)
    sums_RF: Floats = sums_FR[places].T
    return sums_RF


class _Rider(NamedTuple):
    """A column of whole numbers that shares a column of doubles, and the bits that no sum of it leaves."""

    column: int
    bits: int


def _group(columns_FC: Floats) -> list[list[_Rider]]:
    """Return which columns are summed as one: as many of whole numbers as a double holds exactly, the others alone."""
    groups: list[list[_Rider]] = []
    free = 0
    whole_F = np.all(columns_FC == np.rint(columns_FC), axis=1)
    largest_F = np.abs(columns_FC).max(axis=1) * columns_FC.shape[1]  # of the sums of as many clips
    for column, (whole, largest) in enumerate(zip(whole_F, largest_F, strict=True)):
        bits = int(largest).bit_length() + 1 if whole else _EXACT_BITS
        if bits <= free:
            groups[-1].append(_Rider(column, bits))
            free -= bits
        else:
            groups.append([_Rider(column, bits)])
            free = _EXACT_BITS - bits
    return groups


def _pack(columns_FC: Floats, group: Sequence[_Rider]) -> Floats:
    """Return the column c_1 + 2^b_1 (c_2 + 2^b_2 (c_3 + ...)) of the group's columns c with bits b."""
    packed_C: Floats = columns_FC[group[-1].column]
    for rider in reversed(group[:-1]):
        packed_C = columns_FC[rider.column] + packed_C * 2.0**rider.bits
    return packed_C


def _unpack(carried_R: Floats, group: Sequence[_Rider], sums_FR: Floats) -> None:
    """Put the sums of the group's columns in their rows: exact, as each lies within half of 2^b about 0."""
    rest_R = carried_R
    for rider in group[:-1]:
        higher_R = np.rint(rest_R * 2.0**-rider.bits)
        sums_FR[rider.column] = rest_R - higher_R * 2.0**rider.bits
        rest_R = higher_R
    sums_FR[group[-1].column] = rest_R


def _distinct(columns_CF: Floats) -> tuple[Floats, list[int]]:
    """Return the different columns, as rows, and the place of each column among them."""
    different: dict[bytes, int] = {}
    places = [different.setdefault(column_C.tobytes(), len(different)) for column_C in columns_CF.T]
    first = [places.index(place) for place in range(len(different))]
    return np.ascontiguousarray(columns_CF.T[first]), places


def _count_draws(clips: int, resamples: int, generator: np.random.Generator) -> Iterator[tuple[slice, Integers]]:
    """Give, chunk by chunk, how often each clip is in each resample of as many clips, drawn with replacement."""
    for chunk in _chunks(resamples):
        size = chunk.stop - chunk.start
        drawn = generator.integers(clips, size=(size, clips))
        drawn += np.arange(size)[:, None] * clips
        yield chunk, np.bincount(drawn.ravel(), minlength=size * clips).reshape(size, clips)


def _draw_keeps(clips: int, resamples: int, generator: np.random.Generator) -> Iterator[tuple[slice, Integers]]:
    """Give, chunk by chunk, for each clip 1 where it keeps its side and 0 where it changes, with equal chance."""
    width = -(-clips // 8)
    for chunk in _chunks(resamples):
        size = chunk.stop - chunk.start
        drawn = np.frombuffer(generator.bytes(size * width), dtype=np.uint8).reshape(size, width)
        yield chunk, np.unpackbits(drawn, axis=1, count=clips)


def _chunks(resamples: int) -> Iterator[slice]:
    for start in range(0, resamples, _CHUNK):
        yield slice(start, min(start + _CHUNK, resamples))


def _accelerate(levels: Sequence[float], values: Draws, defined_R: Floats) -> list[float] | None:
    """Return the levels of the bootstrap distribution that BCa takes in place of these; None where it has none.

    With z_0 the normal quantile of the share of draws below the estimate, ties by half, and U_i the mean of the
    jackknife values less the i-th:

        a = Σ U_i³ / 6 (Σ U_i²)^1.5 ,   level' = Φ(z_0 + (z_0 + z) / (1 - a (z_0 + z)))
    """
    tie = _TIE * values.scale
    below = np.count_nonzero(defined_R < values.estimate - tie)
    not_above = np.count_nonzero(defined_R <= values.estimate + tie)
    share = (below + not_above) / (2 * len(defined_R))
    jackknife_C = _defined(values.jackknife_C)
    if not 0 < share < 1 or not len(jackknife_C):
        return None
    influence_C = jackknife_C.mean() - jackknife_C
    spread = float(np.sum(influence_C**2)) ** 1.5
    acceleration = float(np.sum(influence_C * influence_C**2)) / (6 * spread) if spread > 0 else 0.0
    normal = NormalDist()
    bias = normal.inv_cdf(share)
    shifted = [bias + normal.inv_cdf(level) for level in levels]
    if any(acceleration * z >= 1 for z in shifted):
        return None
    return [normal.cdf(bias + z / (1 - acceleration * z)) for z in shifted]


def _p(difference: Draws, null_R: Floats) -> float:
    """Return (1 + k) / (1 + R), where k draws under the null lie at least as far from 0 as the difference."""
    extreme = np.count_nonzero(np.abs(null_R) >= abs(difference.estimate) - _TIE * difference.scale)
    return (1 + int(extreme)) / (1 + len(null_R))


def _defined(values: Floats) -> Floats:
    """Return the values that exist."""
    finite = np.isfinite(values)
    return values if finite.all() else values[finite]
