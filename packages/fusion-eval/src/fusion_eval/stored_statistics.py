"""Resample values from scores files alone: no captions, references or tools are needed.

A scores file keeps of each clip the statistics that a corpus value is summed from, or the clip's own value where the corpus
value is their mean. The metric's formula, looked up by name, turns resampled sums into values again.

Legend: C clips, F columns of a sufficient statistic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fusion_eval.bootstrap import SummedValues, means
from fusion_eval.errors import DataError, FusionError
from fusion_eval.metrics.base import SufficientStatistics
from fusion_eval.ngrams import Floats
from fusion_eval.registry import load_metric
from fusion_eval.schemas.scores import Scores, Statistics

_AGREEMENT = 1e-6  # of a value as the file states it and as its sums give it


def summed_values(files: Sequence[Scores], names: Sequence[str]) -> SummedValues:
    """Return what can be resampled of one system: its clips' statistics averaged over the files, one a seed.

    Clips come in the order of their ids. A value that some file lacks, or of which the sums give something else than the file
    states, is left out, so ``names`` of the result may be fewer.

    Raises:
        DataError: there is no file, or the files are about different clips.
    """
    if not files:
        raise DataError("There are no scores to resample; give at least one file.")
    if len({(one.references_sha256, tuple(sorted(clip.id for clip in one.per_clip))) for one in files}) > 1:
        raise DataError("The scores are about different clips or references, so they cannot be averaged.")
    each = [_sums_of(one, names) for one in files]
    kept = tuple(name for name in names if all(name in own.names for own in each))
    by_file = [{part.names: part for part in own.parts} for own in each]
    shared = [columns for columns in by_file[0] if all(columns in parts for parts in by_file)]
    return SummedValues(
        kept,
        tuple(
            replace(
                by_file[0][columns],
                values_CF=np.mean([parts[columns].values_CF for parts in by_file], axis=0),
            )
            for columns in shared
        ),
    )


def _sums_of(scores: Scores, names: Sequence[str]) -> SummedValues:
    """Return the statistics of one file, a part a formula, and the values that they give as the file states them."""
    order = sorted(range(len(scores.per_clip)), key=lambda row: scores.per_clip[row].id)
    parts = [part for metric, kept in scores.statistics.items() if (part := _stored(metric, kept, order)) is not None]
    known = {name for part in parts for name in part.corpus(part.values_CF.sum(axis=0))}
    clips = [scores.per_clip[row].values for row in order]
    for name in names:
        if name not in known and any(name in values for values in clips):
            column = np.array([[values.get(name, math.nan)] for values in clips])
            parts.append(means([name], column))
    values = {name: float(value) for part in parts for name, value in part.corpus(part.values_CF.sum(axis=0)).items()}
    agreeing = tuple(
        name
        for name in names
        if name in values
        and name in scores.metrics
        and np.isclose(values[name], scores.metrics[name], rtol=_AGREEMENT, atol=_AGREEMENT)
    )
    return SummedValues(agreeing, tuple(parts))


def _stored(metric: str, kept: Statistics, order: Sequence[int]) -> SufficientStatistics | None:
    """Return the statistics of one metric with its formula; None where nothing here knows the metric."""
    try:
        formula = load_metric(metric).of_sums
    except FusionError:
        return None
    if formula is None:
        return None
    values_CF: Floats = np.array(kept.per_clip, dtype=np.float64)[list(order)]
    return SufficientStatistics(kept.columns, values_CF, formula)
