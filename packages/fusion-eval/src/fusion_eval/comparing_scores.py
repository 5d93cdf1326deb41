"""Intervals and paired differences from scores files alone, as ``comparing`` gives them from captions and references.

A side is one scores file or several, one a training seed, all of the same clips.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version

from fusion_eval.bootstrap import CONFIDENCE, RESAMPLES, SummedValues, bootstrap, change_sides, uncertainty
from fusion_eval.comparing import METHOD, NO_SPREAD, spread_of, spread_of_seeds, with_spread, without_spread
from fusion_eval.errors import DataError
from fusion_eval.schemas.comparison import ComparedFile, Comparison, MetricComparison, SystemValue
from fusion_eval.schemas.scores import Scores
from fusion_eval.stored_statistics import summed_values

FEWEST_CLIPS = 2
"""What an interval over clips needs."""


def measure_scores(
    files: Sequence[Scores], names: Sequence[str], resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, SystemValue]:
    """Return the values that all files have, averaged over the files, with their intervals over clips.

    A value that cannot be resampled, or a single clip, has no interval.

    Raises:
        DataError: there is no file, or the files are about different clips.
    """
    summed = summed_values(files, names)
    drawn = bootstrap([summed], resamples, seed)[0] if summed.names and files[0].n >= FEWEST_CLIPS else {}
    found = {}
    for name in names:
        if all(name in one.metrics for one in files):
            seeds = spread_of_seeds([one.metrics[name] for one in files])
            spread = uncertainty(drawn[name]) if name in drawn else None
            value = drawn[name].estimate if name in drawn else seeds.mean
            found[name] = SystemValue(value=value, spread=spread_of(spread) if spread else None, seeds=seeds)
    return found


def compare_scores(
    a: Sequence[Scores], b: Sequence[Scores], names: Sequence[str], resamples: int = RESAMPLES, seed: int = 0
) -> Comparison:
    """Return the differences a - b of the values that all files have, in the same resamples of the clips.

    Raises:
        DataError: a side has no file, the files are about different clips, or there is one clip only.
    """
    if not a or not b:
        raise DataError("A side has no scores; give at least one file.")
    first = a[0]
    if first.references_sha256 != b[0].references_sha256 or _ids(first) != _ids(b[0]):
        raise DataError("The two sides were scored on different clips or references, so they cannot be compared.")
    if first.n < FEWEST_CLIPS:
        raise DataError("The scores are of one clip, so there is no spread; score more.")
    shared = [name for name in names if all(name in one.metrics for one in (*a, *b))]
    return Comparison(
        dataset=first.dataset,
        split=first.split,
        a=_describe(a),
        b=_describe(b),
        references_sha256=first.references_sha256,
        events_sha256=first.events_sha256,
        n=first.n,
        resamples=resamples,
        seed=seed,
        confidence=CONFIDENCE,
        metrics=_differences((a, b), shared, resamples, seed),
        oracle=tuple(name for name in first.oracle if name in shared),
        method=METHOD,
        definition={name: first.definition[name] for name in shared if name in first.definition},
        tools=first.tools
        | {"fusion_eval": version("fusion-eval"), "numpy": version("numpy"), "python": platform.python_version()},
    )


def _differences(
    sides: tuple[Sequence[Scores], Sequence[Scores]], names: Sequence[str], resamples: int, seed: int
) -> dict[str, MetricComparison]:
    """Return the comparison of each value; those that cannot be resampled have no spread."""
    by_file = {
        name: ([one.metrics[name] for one in sides[0]], [one.metrics[name] for one in sides[1]]) for name in names
    }
    found = {name: without_spread(a, b, NO_SPREAD) for name, (a, b) in by_file.items()}
    summed = [summed_values(side, names) for side in sides]
    both = tuple(name for name in names if all(name in side.names for side in summed))
    if both:
        first, second = (SummedValues(both, side.parts) for side in summed)
        drawn_a, drawn_b = bootstrap([first, second], resamples, seed)
        flips = change_sides(first, second, resamples, seed)
        for name in both:
            found[name] = with_spread(drawn_a[name], drawn_b[name], flips[name], by_file[name])
    return found


def _ids(scores: Scores) -> list[str]:
    return sorted(clip.id for clip in scores.per_clip)


def _describe(side: Sequence[Scores]) -> tuple[ComparedFile, ...]:
    return tuple(
        ComparedFile(system=one.system, predictions_sha256=one.predictions_sha256, missing=one.missing) for one in side
    )
