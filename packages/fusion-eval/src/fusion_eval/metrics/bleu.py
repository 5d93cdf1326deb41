"""BLEU-1 to BLEU-4: how many of a caption's n-grams its references hold, with a penalty for short captions.

Papineni, Roukos, Ward and Zhu, "BLEU: a Method for Automatic Evaluation of Machine Translation", ACL 2002, with the two
constants that coco-caption adds. For k = 1..4, with m_k the caption's k-grams that a reference holds (each at most as
often as the reference that holds it most often), g_k the number of its k-grams, c its length and r the length of the
reference that is closest to it (of two equally close, the shorter):

    BLEU-n = (Π_k≤n (m_k + 1e-15) / (g_k + 1e-9))^(1/n) · exp(min(0, 1 - (r + 1e-9) / (c + 1e-15)))

The corpus value is the same formula on the sums of m, g, c and r over the clips, not a mean of the clips.

Legend: C clips, F columns of the sufficient statistic, R references.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np

from fusion_eval.metrics.base import Metric, MetricValues, ScoredClips, SufficientStatistics
from fusion_eval.metrics.tokenized import tokenize_clips
from fusion_eval.ngrams import Floats, Integers, Level, NgramTable, Tokens, search

ORDER = 4
SMALL = 1e-9
TINY = 1e-15
NAMES = tuple(f"bleu_{order}" for order in range(1, ORDER + 1))
COLUMNS = (
    *(f"matches_{order}" for order in range(1, ORDER + 1)),
    *(f"ngrams_{order}" for order in range(1, ORDER + 1)),
    "reference_length",
)


def bleu(
    captions: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Return BLEU-1 to BLEU-4 of a corpus and of each of its clips, from captions as people write them.

    Args:
        captions: one caption a clip.
        references: the references of each clip.

    Returns:
        The corpus values and the clips' values, each by name: ``bleu_1`` to ``bleu_4``.

    Raises:
        DataError: the numbers of captions and clips differ, there are none, or a clip has no references.
    """
    statistics_CF = bleu_statistics(*tokenize_clips(captions, references))
    corpus, per_clip = bleu_of_sums(statistics_CF.sum(axis=0)), bleu_of_sums(statistics_CF)
    return {name: float(corpus[name]) for name in NAMES}, {name: per_clip[name].tolist() for name in NAMES}


def bleu_statistics(captions: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> Floats:
    """Return what BLEU is computed from, for each tokenised caption and its references, as ``COLUMNS`` (C, F)."""
    table = NgramTable(captions, ORDER)
    sizes_C = np.fromiter(map(len, references), dtype=np.int64, count=len(references))
    clip_R = np.repeat(np.arange(len(references)), sizes_C)
    flat = list(chain.from_iterable(references))
    lengths_C = np.fromiter(map(len, captions), dtype=np.int64, count=len(captions))
    lengths_R = np.fromiter(map(len, flat), dtype=np.int64, count=len(flat))
    statistics_CF = np.empty((len(captions), len(COLUMNS)))
    for order, (own, others) in enumerate(zip(table.levels, table.find(flat), strict=True)):
        statistics_CF[:, order] = _matches(own, others, clip_R, len(captions))
        statistics_CF[:, ORDER + order] = np.maximum(0, lengths_C - order)
    statistics_CF[:, -1] = _closest(lengths_C, lengths_R, clip_R, sizes_C)
    return statistics_CF


def bleu_of_sums(sums: Floats) -> dict[str, Floats]:
    """Return BLEU-1 to BLEU-4 by name, of statistics or their sums with any leading axes (…, F)."""
    matches, ngrams, reference_length = sums[..., :ORDER], sums[..., ORDER : 2 * ORDER], sums[..., -1]
    product = np.cumprod((matches + TINY) / (ngrams + SMALL), axis=-1)
    penalty = np.exp(np.minimum(0, 1 - (reference_length + SMALL) / (ngrams[..., 0] + TINY)))
    return {name: product[..., order] ** (1 / (order + 1)) * penalty for order, name in enumerate(NAMES)}


def _matches(own: Level, others: Level, clip_R: Integers, captions: int) -> Integers:
    """Return the number of each caption's n-grams that a reference of its clip holds, clipped by reference."""
    size = int(own.gram.max(initial=0)) + 1
    keys, counts = np.unique(own.owner * size + own.gram, return_counts=True)
    if not len(keys):
        return np.zeros(captions, dtype=np.int64)
    wanted = clip_R[others.owner] * size + others.gram
    places, hits = search(keys, wanted)
    by_reference, held = np.unique(others.owner[hits] * len(keys) + places[hits], return_counts=True)
    most = np.zeros(len(keys), dtype=np.int64)
    np.maximum.at(most, by_reference % len(keys), held)
    matches = np.bincount(keys // size, weights=np.minimum(counts, most), minlength=captions)
    return matches.astype(np.int64)


def _closest(lengths_C: Integers, lengths_R: Integers, clip_R: Integers, sizes_C: Integers) -> Integers:
    """Return the length of the reference of each clip that is closest to its caption's, of two the shorter."""
    order = np.lexsort((lengths_R, np.abs(lengths_R - lengths_C[clip_R]), clip_R))
    closest_C: Integers = lengths_R[order][np.cumsum(sizes_C) - sizes_C]
    return closest_C


def _compute(clips: ScoredClips) -> MetricValues:
    statistics_CF = bleu_statistics(clips.caption_tokens, clips.reference_tokens)
    corpus, per_clip = bleu_of_sums(statistics_CF.sum(axis=0)), bleu_of_sums(statistics_CF)
    return MetricValues(
        corpus={name: float(corpus[name]) for name in NAMES},
        denominator=dict.fromkeys(NAMES, len(statistics_CF)),
        per_clip={name: per_clip[name].tolist() for name in NAMES},
        definition={
            name: {"n": order, "reference_length": "closest", "corpus": "of summed statistics", "over": "clips"}
            for order, name in enumerate(NAMES, start=1)
        },
        statistics=SufficientStatistics(COLUMNS, statistics_CF, bleu_of_sums),
    )


METRIC = Metric(
    "bleu",
    "n-grams of the caption that a reference holds, with a penalty for short ones",
    _compute,
    of_sums=bleu_of_sums,
)
