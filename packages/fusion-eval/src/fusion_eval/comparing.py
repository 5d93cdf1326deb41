"""Compare two systems on the same clips: every metric's difference with its intervals and p-values.

A side is one predictions file or several, one a training seed. The bootstrap resamples clips: over several seeds it
takes each clip's statistics averaged over them, so that its intervals say how far the values would move with other
clips. How far they move with another seed stands apart, as mean and standard deviation over the files.

Legend: C clips, F columns of a sufficient statistic, R resamples.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from statistics import fmean, stdev

import numpy as np
from pydantic import JsonValue

from fusion_eval.align import Alignment, align
from fusion_eval.bootstrap import (
    CONFIDENCE,
    RESAMPLES,
    Draws,
    SummedValues,
    Uncertainty,
    bootstrap,
    change_sides,
    check_resampling,
    histogram,
    means,
    p_recentred,
    p_sign_flip,
    uncertainty,
)
from fusion_eval.clip_lists import ClipList
from fusion_eval.errors import ConfigError, DataError
from fusion_eval.metrics.base import MetricValues, Resources
from fusion_eval.ngrams import Floats
from fusion_eval.schemas.comparison import (
    ComparedFile,
    Comparison,
    Difference,
    Histogram,
    Interval,
    MetricComparison,
    SeedSpread,
    Spread,
    SystemValue,
)
from fusion_eval.schemas.events import SceneEvents
from fusion_eval.schemas.predictions import Predictions
from fusion_eval.schemas.references import References
from fusion_eval.scoring import TOKENISER, evaluate

BINS = 40  # of the histogram of bootstrap differences
METHOD = {
    "resamples": "Clips drawn with replacement, as many as there are; the same draw for both systems and all metrics.",
    "corpus_values": "Recomputed in each resample from sums of the clips' statistics; document frequencies of CIDEr-D"
    " stay those of the whole scored set.",
    "percentile": "Quantiles of the resampled values.",
    "bca": "Bias-corrected and accelerated; the acceleration from the exact jackknife over clips.",
    "p": "(1 + k) / (1 + resamples), two-sided; k resampled differences, moved to centre on 0, lie as far from 0 as"
    " the difference found.",
    "p_sign_flip": "(1 + k) / (1 + resamples), two-sided; k differences, after each clip changed sides with chance 1/2,"
    " lie as far from 0 as the difference found.",
    "several_metrics": "The p-values are not corrected for the number of metrics.",
    "seeds": "Intervals and p-values hold for clips alone, of statistics averaged over seeds; mean and stdev (n - 1)"
    " over seeds stand apart.",
}

NO_SPREAD = "The value is no function of sums over the clips, so it cannot be resampled."
_AGREEMENT = 1e-6  # of a value as the metric gave it and as its sums give it
_TOO_FEW = "Fewer than two resamples have a value."


@dataclass(frozen=True)
class _Scored:
    """One predictions file, how it was joined, and what each metric found, by the metric's name."""

    file: Predictions
    alignment: Alignment
    values: Mapping[str, MetricValues]
    unavailable: Mapping[str, str]
    oracle: tuple[str, ...]

    @property
    def corpus(self) -> dict[str, float]:
        """All values by name."""
        return {name: value for values in self.values.values() for name, value in values.corpus.items()}

    @property
    def per_clip(self) -> dict[str, list[float | None]]:
        """The clips' values by name."""
        return {name: column for values in self.values.values() for name, column in values.per_clip.items()}


def compare(  # noqa: PLR0913 (what is compared, over what, and how)
    a: Sequence[Predictions],
    b: Sequence[Predictions],
    references: References,
    metrics: Sequence[str] = ("cider_d",),
    *,
    events: SceneEvents | None = None,
    allow_missing: bool = False,
    resources: Resources | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    clip_list: ClipList | None = None,
) -> Comparison:
    """Return the differences a - b of two systems, with 95% intervals and p-values.

    Args:
        a: the captions of one system, a file a training seed.
        b: the captions of the other.
        references: what both are compared with; they define the clips.
        metrics: names of metrics; «all» takes each that can be had and says of the others why not.
        events: the event graphs of the same split, for the metrics of composed scenes.
        allow_missing: score clips without a prediction as an empty caption instead of refusing.
        resources: what some metrics need beside the captions; no ``columns``, which belong to one system.
        resamples: of the bootstrap, and of the changes of sides.
        seed: of the resamples; equal seeds give equal ones, whatever the metrics and the order of the clips are.
        clip_list: compare on these clips alone and all of them, those without a prediction with an empty caption.

    Raises:
        ConfigError: a metric is unknown or needs what is not given, there are too few resamples, or columns are given.
        DataError: ids do not fit together, a side has no file or one twice, or there is one clip only.
    """
    resources = resources or Resources()
    if resources.columns:
        raise ConfigError("Columns hold the values of one system, so they cannot serve two; leave them out.")
    check_resampling(resamples, seed)
    _check_side("a", a)
    _check_side("b", b)
    counted = clip_list.cut(references) if clip_list is not None else references
    if len(counted.items) < 2:
        raise DataError("The references have fewer than two clips, so there is no spread; give a split with more.")

    def score(file: Predictions) -> _Scored:
        alignment = align(file, references, events, allow_missing, clip_list)
        found = evaluate(alignment, metrics, resources)
        by_metric = {metric.name: values for metric, values in zip(found.metrics, found.values, strict=True)}
        return _Scored(file, alignment, by_metric, found.unavailable, found.oracle)

    sides = [score(file) for file in a], [score(file) for file in b]
    scored = [*sides[0], *sides[1]]
    names = [name for name in scored[0].corpus if all(name in one.corpus for one in scored)]
    return Comparison(
        dataset=references.dataset,
        split=references.split,
        a=_describe(sides[0]),
        b=_describe(sides[1]),
        references_sha256=counted.sha256(),
        events_sha256=events.sha256() if events is not None else None,
        clip_list=clip_list.name if clip_list is not None else None,
        n=len(counted.items),
        resamples=resamples,
        seed=seed,
        confidence=CONFIDENCE,
        metrics=_compare_values(sides, names, resamples, seed),
        unavailable=_unavailable(scored, names),
        oracle=tuple(name for name in scored[0].oracle if name in names),
        method=METHOD,
        definition=_definitions(scored[0].values.values(), names),
        tools=_tools(scored[0].values.values()),
    )


def _check_side(label: str, files: Sequence[Predictions]) -> None:
    """Refuse a side without files, and one that has the same file twice, which would show no spread over seeds."""
    if not files:
        raise DataError(f"{label}: there are no predictions; give at least one file.")
    if len({file.sha256() for file in files}) < len(files):
        raise DataError(f"{label}: two files hold the same predictions; give each seed once.")


def _compare_values(
    sides: tuple[Sequence[_Scored], Sequence[_Scored]], names: Sequence[str], resamples: int, seed: int
) -> dict[str, MetricComparison]:
    """Return the comparison of each value; those that cannot be resampled have no spread."""
    seeds = [{name: [one.corpus[name] for one in side] for name in names} for side in sides]
    found = {name: without_spread(seeds[0][name], seeds[1][name], NO_SPREAD) for name in names}
    a, b = _sum_sides(sides, names)
    if a.names:
        draws_a, draws_b = bootstrap([a, b], resamples, seed)
        flips = change_sides(a, b, resamples, seed)
        for name in a.names:
            found[name] = with_spread(draws_a[name], draws_b[name], flips[name], (seeds[0][name], seeds[1][name]))
    return found


def _sum_sides(
    sides: tuple[Sequence[_Scored], Sequence[_Scored]], names: Sequence[str]
) -> tuple[SummedValues, SummedValues]:
    """Return for both sides what can be resampled: the clips' statistics, averaged over the files of a side.

    A value of which the sums, or the mean of the clips, give something else than the metric said is left out.
    """
    scored = [*sides[0], *sides[1]]
    summed = [
        metric
        for metric in scored[0].values
        if all(metric in one.values and one.values[metric].statistics is not None for one in scored)
    ]
    averaged = [name for name in names if all(name in one.per_clip for one in scored)]
    each = [_sum_clips(one, summed, averaged) for one in scored]
    agreeing = [_agreeing(one, own) for one, own in zip(scored, each, strict=True)]
    kept = tuple(name for name in names if all(name in found for found in agreeing))
    split = len(sides[0])
    return _average(each[:split], kept), _average(each[split:], kept)


def _sum_clips(one: _Scored, summed: Sequence[str], averaged: Sequence[str]) -> SummedValues:
    """Return the statistics of some metrics, and of the means of other values, clips in the order of their ids."""
    parts = [statistics for metric in summed if (statistics := one.values[metric].statistics) is not None]
    known = {name for part in parts for name in part.corpus(part.values_CF.sum(axis=0))}
    others = [name for name in averaged if name not in known]
    if others:
        parts.append(means(others, np.array([one.per_clip[name] for name in others], dtype=np.float64).T))
    ids = one.alignment.clips.ids
    order = sorted(range(len(ids)), key=ids.__getitem__)
    sorted_parts = tuple(replace(part, values_CF=part.values_CF[order]) for part in parts)
    return SummedValues((*sorted(known), *others), sorted_parts)


def _agreeing(one: _Scored, summed: SummedValues) -> set[str]:
    """Return the names of the values that the sums give as the metrics gave them."""
    values = summed.corpus(summed.columns.sum(axis=0))
    return {
        name
        for name, value in values.items()
        if name in one.corpus and np.isclose(value, one.corpus[name], rtol=_AGREEMENT, atol=_AGREEMENT)
    }


def _average(files: Sequence[SummedValues], names: tuple[str, ...]) -> SummedValues:
    """Return the statistics of one side: of each clip, averaged over the files."""
    parts = [
        replace(same[0], values_CF=np.mean([part.values_CF for part in same], axis=0))
        for same in zip(*(one.parts for one in files), strict=True)
    ]
    return SummedValues(names, tuple(parts))


def with_spread(
    a: Draws, b: Draws, flips_R: Floats, seeds: tuple[Sequence[float], Sequence[float]]
) -> MetricComparison:
    """Return the comparison of one value that was resampled; ``seeds`` are its values by file of each side."""
    difference = a.minus(b)
    spread_a, spread_b, spread = map(uncertainty, (a, b, difference))
    if spread_a is None or spread_b is None or spread is None:
        return without_spread(*seeds, _TOO_FEW)
    low, high, counts = histogram(difference.draws_R, BINS)
    return MetricComparison(
        a=SystemValue(value=a.estimate, spread=spread_of(spread_a), seeds=spread_of_seeds(seeds[0])),
        b=SystemValue(value=b.estimate, spread=spread_of(spread_b), seeds=spread_of_seeds(seeds[1])),
        difference=Difference(
            value=difference.estimate,
            spread=spread_of(spread),
            p=p_recentred(difference),
            p_sign_flip=p_sign_flip(difference, flips_R),
            histogram=Histogram(low=low, high=high, counts=tuple(counts)),
        ),
    )


def without_spread(a: Sequence[float], b: Sequence[float], reason: str) -> MetricComparison:
    """Return the comparison of one value that cannot be resampled: its mean over the files of each side."""
    return MetricComparison(
        a=SystemValue(value=fmean(a), seeds=spread_of_seeds(a)),
        b=SystemValue(value=fmean(b), seeds=spread_of_seeds(b)),
        difference=Difference(value=fmean(a) - fmean(b)),
        reason=reason,
    )


def spread_of(found: Uncertainty) -> Spread:
    """Return the spread as a file states it."""
    return Spread(
        standard_error=found.standard_error,
        percentile=Interval(low=found.percentile[0], high=found.percentile[1]),
        bca=Interval(low=found.bca[0], high=found.bca[1]) if found.bca is not None else None,
        undefined=found.undefined,
    )


def spread_of_seeds(values: Sequence[float]) -> SeedSpread:
    """Return the values of the seeds with their mean and standard deviation."""
    return SeedSpread(values=tuple(values), mean=fmean(values), stdev=stdev(values) if len(values) > 1 else None)


def _describe(side: Sequence[_Scored]) -> tuple[ComparedFile, ...]:
    return tuple(
        ComparedFile(
            system=one.file.system,
            run_id=one.file.run_id,
            predictions_sha256=one.file.sha256(),
            missing=one.alignment.missing,
        )
        for one in side
    )


def _unavailable(scored: Sequence[_Scored], names: Sequence[str]) -> dict[str, str]:
    """Return why metrics and values have no comparison; of one that only some files have, that they differ in it."""
    reasons: dict[str, str] = {}
    for one in scored:
        reasons |= one.unavailable
        for values in one.values.values():
            reasons |= values.unavailable
            reasons |= {name: "Not every file has a value." for name in values.corpus if name not in names}
    return reasons


def _definitions(found: Iterable[MetricValues], names: Sequence[str]) -> dict[str, dict[str, JsonValue]]:
    return {name: settings for values in found for name, settings in values.definition.items() if name in names}


def _tools(found: Iterable[MetricValues]) -> dict[str, str]:
    """Return the versions of what computed the values; numpy's decides the resamples of a seed."""
    tools = {
        "fusion_eval": version("fusion-eval"),
        "numpy": version("numpy"),
        "python": platform.python_version(),
        "tokeniser": TOKENISER,
    }
    return tools | {name: value for values in found for name, value in values.tools.items()}
