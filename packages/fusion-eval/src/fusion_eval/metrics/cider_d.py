"""CIDEr-D: how much a caption agrees with what people say about a clip, in n-grams weighted by their rarity.

Vedantam, Zitnick and Parikh, "CIDEr: Consensus-based Image Description Evaluation", CVPR 2015, in the variant D that
coco-caption computes. For n = 1..4, with tf the number of occurrences in a caption, df the number of clips whose
references hold the n-gram and N the number of clips:

    g(w) = tf(w) · (ln N - ln max(1, df(w)))
    s_n(c, r) = Σ_w min(g_c(w), g_r(w)) · g_r(w) / (‖g_c‖ ‖g_r‖) · exp(-(l_c - l_r)² / 2σ²)
    CIDEr-D(c) = 10 · mean over references r and orders n of s_n(c, r)

where l counts a caption's bigrams, as the reference implementation does.

Legend: C candidates, R references, P pairs of a candidate and a reference of its clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from fusion_eval.errors import DataError
from fusion_eval.metrics.base import Metric, MetricValues, ScoredClips
from fusion_eval.metrics.document_frequency import ORDER, DocumentFrequency
from fusion_eval.ngrams import Floats, Integers, Level, NgramTable, Tokens, search
from fusion_eval.tokenize import tokenize_all

SIGMA = 6.0
SCALE = 10.0


class _Weighted(NamedTuple):
    """The different n-grams of one order in some captions, sorted by caption and n-gram, and each caption's norm."""

    owner: Integers
    gram: Integers
    weight: Floats
    norm: Floats


class _Postings(NamedTuple):
    """The references' n-grams of one order, grouped by clip and n-gram.

    ``keys`` is sorted; the entries of key i are ``reference[starts[i]:starts[i + 1]]``, and so for ``weight``.
    """

    size: int
    keys: Integers
    starts: Integers
    reference: Integers
    weight: Floats


class _Pairs(NamedTuple):
    """The pairs of each candidate with the references of its clip; a candidate's pairs lie side by side.

    ``candidate`` and ``reference`` have an entry a pair, ``clip`` and ``offset`` an entry a candidate; the offset is a
    pair's index less its reference's.
    """

    clip: Integers
    candidate: Integers
    reference: Integers
    offset: Integers


class CiderD:
    """CIDEr-D against fixed references, whose weights are computed once.

    Scoring then costs only the candidates, so an instance over the training set serves as a reward.

    Args:
        references: tokenised references by clip; every clip has at least one.
        document_frequency: where df and N come from; by default from these references.
        sigma: σ of the length penalty, in bigrams.

    Raises:
        DataError: a clip has no references.
    """

    def __init__(
        self,
        references: Sequence[Sequence[Tokens]],
        document_frequency: DocumentFrequency | None = None,
        sigma: float = SIGMA,
    ) -> None:
        self._clip_sizes = np.fromiter(map(len, references), dtype=np.int64, count=len(references))
        if not self._clip_sizes.all():
            raise DataError(f"Clip {int(self._clip_sizes.argmin())} has no references; give it at least one.")
        self._clip_starts = np.cumsum(self._clip_sizes) - self._clip_sizes
        self._sigma = sigma
        captions_R = list(chain.from_iterable(references))
        clip_R = np.repeat(np.arange(len(references)), self._clip_sizes)
        self._table = NgramTable(captions_R, ORDER)
        self.document_frequency = document_frequency or DocumentFrequency.from_table(
            self._table, clip_R, len(references)
        )
        weighted = self._weigh(self._table.levels, captions_R)
        self._bigrams_R = _bigrams(self._table.levels, len(captions_R))
        self._norms_R = [level.norm for level in weighted]
        self._postings = [
            _group(level, clip_R, size) for level, size in zip(weighted, self._table.sizes(), strict=True)
        ]

    def score(self, candidates: Sequence[Tokens], clips: Sequence[int] | Integers | None = None) -> Floats:
        """Return the CIDEr-D of each candidate.

        Args:
            candidates: tokenised captions.
            clips: each candidate's clip, as an index into the references; by default the candidates are one a clip.

        Raises:
            DataError: there are not as many clips as candidates.
        """
        clip_C = np.arange(len(self._clip_sizes)) if clips is None else np.asarray(clips, dtype=np.int64)
        if len(clip_C) != len(candidates):
            raise DataError(f"There are {len(candidates)} candidates but {len(clip_C)} clips; name each one's clip.")
        pairs = self._pair(clip_C)
        levels = self._table.encode(candidates)
        total_P = np.zeros(len(pairs.candidate))
        for level, postings, norm_R in zip(self._weigh(levels, candidates), self._postings, self._norms_R, strict=True):
            dot_P = _clipped_products(level, postings, pairs)
            scale_P = level.norm[pairs.candidate] * norm_R[pairs.reference]
            total_P += np.divide(dot_P, scale_P, out=np.zeros_like(dot_P), where=scale_P != 0)
        gap_P = _bigrams(levels, len(candidates))[pairs.candidate] - self._bigrams_R[pairs.reference]
        total_P *= np.exp(-(gap_P**2) / (2 * self._sigma**2))
        sum_C = np.bincount(pairs.candidate, weights=total_P, minlength=len(candidates))
        scores_C: Floats = SCALE / ORDER * sum_C / self._clip_sizes[clip_C]
        return scores_C

    def _pair(self, clip_C: Integers) -> _Pairs:
        sizes_C = self._clip_sizes[clip_C]
        offset_C = np.cumsum(sizes_C) - sizes_C - self._clip_starts[clip_C]
        candidate_P = np.repeat(np.arange(len(clip_C)), sizes_C)
        return _Pairs(clip_C, candidate_P, np.arange(len(candidate_P)) - offset_C[candidate_P], offset_C)

    def _weigh(self, levels: Sequence[Level], captions: Sequence[Tokens]) -> list[_Weighted]:
        """Return g of the captions' n-grams by order; ``levels`` are the captions as the own table encodes them."""
        table = self.document_frequency.table
        inverse = self.document_frequency.inverse(levels if table is self._table else table.encode(captions))
        return [_weigh(*pair, len(captions)) for pair in zip(levels, inverse, strict=True)]


def _weigh(level: Level, inverse: Floats, captions: int) -> _Weighted:
    """Return the different n-grams of each caption with their g, given ln(N / df) at each position."""
    size = int(level.gram.max(initial=0)) + 1
    keys, first, tf = np.unique(level.owner * size + level.gram, return_index=True, return_counts=True)
    weight = tf * inverse[first]
    owner = keys // size
    norm = np.sqrt(np.bincount(owner, weights=weight**2, minlength=captions).astype(np.float64))
    return _Weighted(owner, keys % size, weight, norm)


def _bigrams(levels: Sequence[Level], captions: int) -> Integers:
    """Return the number of bigrams of each caption."""
    return np.bincount(levels[1].owner, minlength=captions)


def _group(level: _Weighted, clip_R: Integers, size: int) -> _Postings:
    """Group the references' n-grams, of ``size`` different ones, by clip and n-gram."""
    key = clip_R[level.owner] * size + level.gram
    order = np.argsort(key, kind="stable")
    keys, starts = np.unique(key[order], return_index=True)
    return _Postings(size, keys, np.append(starts, len(order)), level.owner[order], level.weight[order])


def _clipped_products(level: _Weighted, postings: _Postings, pairs: _Pairs) -> Floats:
    """Return Σ_w min(g_c(w), g_r(w)) · g_r(w) of each pair."""
    known = np.flatnonzero(level.gram < postings.size)
    keys = pairs.clip[level.owner[known]] * postings.size + level.gram[known]
    places, hits = search(postings.keys, keys)
    found, places = known[hits], places[hits]
    sizes = postings.starts[places + 1] - postings.starts[places]
    entry = np.arange(sizes.sum()) + np.repeat(postings.starts[places] - np.cumsum(sizes) + sizes, sizes)
    reference_weight = postings.weight[entry]
    product = np.minimum(np.repeat(level.weight[found], sizes), reference_weight) * reference_weight
    pair = postings.reference[entry] + np.repeat(pairs.offset[level.owner[found]], sizes)
    return np.bincount(pair, weights=product, minlength=len(pairs.candidate)).astype(np.float64)


def cider_d(
    candidates: Sequence[str],
    references: Sequence[Sequence[str]],
    document_frequency: DocumentFrequency | None = None,
) -> tuple[float, list[float]]:
    """Return the CIDEr-D of a corpus and of each of its clips, from captions as people write them.

    Args:
        candidates: one caption a clip.
        references: the references of each clip.
        document_frequency: where df and N come from; by default from these references.

    Raises:
        DataError: the numbers of candidates and clips differ, there are none, or a clip has no references.
    """
    if not candidates:
        raise DataError("There are no candidates; give at least one.")
    scorer = CiderD([tokenize_all(captions) for captions in references], document_frequency)
    scores = scorer.score(tokenize_all(candidates))
    return float(scores.mean()), scores.tolist()


def _compute(clips: ScoredClips) -> MetricValues:
    given = clips.resources.document_frequency
    scores = CiderD(clips.reference_tokens, given).score(clips.caption_tokens)
    source = "scored references" if given is None else f"given corpus of {given.clips} clips"
    return MetricValues(
        corpus={"cider_d": float(scores.mean())},
        denominator={"cider_d": len(scores)},
        per_clip={"cider_d": scores.tolist()},
        definition={"cider_d": {"n": ORDER, "sigma": SIGMA, "df": source, "over": "clips"}},
    )


METRIC = Metric("cider_d", "agreement with the references in rare n-grams (CIDEr-D, coco-caption's scale)", _compute)
