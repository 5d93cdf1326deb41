"""Floors and controls that every table of captions carries: what no hearing, or simple hearing, reaches.

Shapes: N training clips, Q queried clips, A encoder width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from fusion_eval.metrics.cider_d import CiderD
from fusion_eval.tokenize import tokenize_all
from numpy.typing import NDArray

from fusion_train.examples import CaptionedClip, FeatureLookup

PRIOR_CANDIDATES = 400


def derangement(count: int, seed: int) -> list[int]:
    """Return a permutation that leaves nothing in its place: whose audio each clip gets in the shuffled control.

    Raises:
        ValueError: there are fewer than two clips.
    """
    if count < 2:
        raise ValueError("shuffled audio needs at least two clips")
    order = np.random.default_rng(seed).permutation(count)
    result = np.empty(count, dtype=int)
    result[order] = np.roll(order, 1)
    return [int(index) for index in result]


def class_prior(train: Sequence[CaptionedClip], judge: Sequence[CaptionedClip], seed: int) -> str:
    """Return the one training caption that, said of every clip, scores the best CIDEr-D on ``judge`` (val).

    It knows what is likely and hears nothing. At most 400 captions, drawn by the seed, are tried.
    """
    pool = sorted({reference for clip in train for reference in clip.references})
    generator = np.random.default_rng(seed)
    if len(pool) > PRIOR_CANDIDATES:
        pool = [pool[index] for index in sorted(generator.choice(len(pool), PRIOR_CANDIDATES, replace=False))]
    metric = CiderD([tokenize_all(clip.references) for clip in judge])
    candidates = [tokens for tokens in tokenize_all(pool) for _ in judge]
    scores = metric.score(candidates, clips=list(range(len(judge))) * len(pool))
    return pool[int(scores.reshape(len(pool), len(judge)).mean(axis=1).argmax())]


class NearestNeighbour:
    """Retrieval: the caption of the training clip whose mean feature is nearest by cosine.

    Args:
        train: the training clips.
        features: x_TA by file hash.
    """

    def __init__(self, train: Sequence[CaptionedClip], features: FeatureLookup) -> None:
        self.train = list(train)
        self.features = features
        means_NA = self._means([clip.sha256 for clip in self.train])
        self.centre_A = means_NA.mean(axis=0)
        self.scale_A = means_NA.std(axis=0) + 1e-6
        self.keys_NA = self._standardise(means_NA)

    def caption(self, hashes: Sequence[str]) -> list[str]:
        """Return for each clip the first reference of its nearest training clip."""
        similarity_QN = self._standardise(self._means(hashes)) @ self.keys_NA.T
        return [self.train[int(nearest)].references[0] for nearest in similarity_QN.argmax(axis=1)]

    def _means(self, hashes: Sequence[str]) -> NDArray[np.float64]:
        return np.stack([np.asarray(self.features(key), dtype=np.float64).mean(axis=0) for key in hashes])

    def _standardise(self, means_NA: NDArray[np.float64]) -> NDArray[np.float64]:
        standard = (means_NA - self.centre_A) / self.scale_A
        result: NDArray[np.float64] = standard / np.linalg.norm(standard, axis=1, keepdims=True)
        return result
