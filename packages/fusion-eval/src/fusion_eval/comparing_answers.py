"""Paired differences of answers to the questions of clips under two conditions, for all questions and for each kind.

The clip is what is resampled, as everywhere: its questions are not independent. A value is a ratio of sums over clips, of right
answers to questions asked, so a clip without a question of a kind counts for nothing in it.

Legend: C clips, K kinds of questions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fusion_eval.bootstrap import RESAMPLES, SummedValues, bootstrap, change_sides
from fusion_eval.comparing import with_spread, without_spread
from fusion_eval.errors import DataError
from fusion_eval.metrics.base import SufficientStatistics
from fusion_eval.ngrams import Floats
from fusion_eval.schemas.comparison import MetricComparison
from fusion_eval.schemas.questions import Questions
from fusion_eval.schemas.retention import Answers

ALL = "all"
_ONE_CLIP = "The questions are about one clip, so there is no spread; ask about more."


def compare_answers_by_kind(
    questions: Questions, a: Sequence[Answers], b: Sequence[Answers], resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, MetricComparison]:
    """Return the differences a - b in accuracy by likelihood, of ``all`` questions and of each kind.

    Args:
        questions: what was asked.
        a, b: the answers of each side, one file a training seed.
        resamples: of the bootstrap over clips.
        seed: of the resamples.

    Raises:
        DataError: a side has no file, or a file lacks an answer.
        ConfigError: there are too few resamples, or the seed is negative.
    """
    if not a or not b:
        raise DataError("A side has no answers; give at least one file.")
    kinds = (ALL, *sorted({item.kind for item in questions.items} - {ALL}))
    sides = [[_summed(questions, kinds, one) for one in files] for files in (a, b)]
    values = [[one.corpus(one.columns.sum(axis=0)) for one in files] for files in sides]
    by_file = {kind: tuple([float(own[kind]) for own in side] for side in values) for kind in kinds}
    first, second = (_averaged(files) for files in sides)
    if len(first.columns) == 1:
        return {kind: without_spread(x, y, _ONE_CLIP) for kind, (x, y) in by_file.items()}
    drawn_a, drawn_b = bootstrap([first, second], resamples, seed)
    flips = change_sides(first, second, resamples, seed)
    return {kind: with_spread(drawn_a[kind], drawn_b[kind], flips[kind], (x, y)) for kind, (x, y) in by_file.items()}


def _summed(questions: Questions, kinds: Sequence[str], answers: Answers) -> SummedValues:
    """Return right answers and questions of each clip by kind; clips in the order of their ids."""
    clips = {clip: place for place, clip in enumerate(sorted({item.clip for item in questions.items}))}
    right_CK, asked_CK = np.zeros((len(clips), len(kinds))), np.zeros((len(clips), len(kinds)))
    for item in questions.items:
        if item.id not in answers.outcomes:
            raise DataError(f"The answers lack question {item.id!r}; they are to other questions.")
        for kind in {ALL, item.kind}:
            place = clips[item.clip], kinds.index(kind)
            right_CK[place] += bool(answers.outcomes[item.id].likelihood)
            asked_CK[place] += 1

    def corpus(sums_F: Floats) -> dict[str, Floats]:
        return {kind: sums_F[..., k] / sums_F[..., len(kinds) + k] for k, kind in enumerate(kinds)}

    names = (*kinds, *(f"{kind}_asked" for kind in kinds))
    return SummedValues(tuple(kinds), (SufficientStatistics(names, np.hstack([right_CK, asked_CK]), corpus),))


def _averaged(files: Sequence[SummedValues]) -> SummedValues:
    """Return the statistics of one side: of each clip, averaged over the files."""
    part = files[0].parts[0]
    columns = np.mean([one.columns for one in files], axis=0)
    return SummedValues(files[0].names, (SufficientStatistics(part.names, columns, part.corpus),))
