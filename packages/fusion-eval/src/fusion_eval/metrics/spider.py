"""SPIDEr and what is made of it: the mean of CIDEr-D and SPICE, with a penalty for faulty fluency, and as an oracle.

    SPIDEr     = (CIDEr-D + SPICE) / 2
    SPIDEr-FL  = SPIDEr · (1 - 0.9 · [P(error) > 0.9]), where P is the fluency detector's
    SPIDEr-max = the best SPIDEr among a clip's candidates

Liu et al., "Improved Image Captioning via Policy Gradient optimization of SPIDEr", ICCV 2017; the penalty is of DCASE
2023's task 6a; Labbé et al., "Is my Automatic Audio Captioning System so Bad? SPIDEr-max: A Metric to Consider Several
Caption Candidates", DCASE 2022. The values with "max" choose by the references: oracles, no result of a system.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
from pydantic import JsonValue

from fusion_eval.metrics.base import Metric, MetricValues, ScoredClips
from fusion_eval.metrics.cider_d import CiderD
from fusion_eval.ngrams import Floats

THRESHOLD = 0.9
PENALTY = 0.9


def spider(cider_d: Sequence[float], spice: Sequence[float]) -> list[float]:
    """Return the SPIDEr of each clip from its parts."""
    return [(first + second) / 2 for first, second in zip(cider_d, spice, strict=True)]


def spider_fl(spiders: Sequence[float], error_probabilities: Sequence[float]) -> list[float]:
    """Return the SPIDEr-FL of each clip from its SPIDEr and the probability of an error in fluency."""
    pairs = zip(spiders, error_probabilities, strict=True)
    return [value * (1 - PENALTY) if probability > THRESHOLD else value for value, probability in pairs]


def _spider(clips: ScoredClips) -> MetricValues:
    per_clip = spider(clips.part("cider_d"), clips.part("spice"))
    return _mean_of_clips("spider", per_clip, {"parts": ["cider_d", "spice"], "df": _df(clips)})


def _spider_fl(clips: ScoredClips) -> MetricValues:
    spiders = spider(clips.part("cider_d"), clips.part("spice"))
    per_clip = spider_fl(spiders, clips.part("error_probability"))
    settings: dict[str, JsonValue] = {"parts": ["cider_d", "spice", "error_probability"], "df": _df(clips)}
    return _mean_of_clips("spider_fl", per_clip, settings | {"threshold": THRESHOLD, "penalty": PENALTY})


def _cider_d_max(clips: ScoredClips) -> MetricValues:
    texts, owners = _candidates(clips)
    per_clip = _best(_cider_d(clips, texts, owners), owners, len(clips.ids))
    return _mean_of_clips("cider_d_max", per_clip, {"chosen": "by the references", "df": _df(clips)})


def _spider_max(clips: ScoredClips) -> MetricValues:
    from fusion_eval.metrics.spice import spice

    texts, owners = _candidates(clips)
    scores = spice(texts, [clips.references[owner] for owner in owners], clips.resources.workers)
    spiders = (_cider_d(clips, texts, owners) + np.asarray(scores)) / 2
    settings: dict[str, JsonValue] = {"parts": ["cider_d", "spice"], "chosen": "by the references", "df": _df(clips)}
    return _mean_of_clips("spider_max", _best(spiders, owners, len(clips.ids)), settings)


def _candidates(clips: ScoredClips) -> tuple[list[str], list[int]]:
    """Return all candidates and the clip of each; a clip without candidates has its caption as the only one."""
    candidates = clips.candidates or [[] for _ in clips.ids]
    texts = [list(own) or [caption] for own, caption in zip(candidates, clips.captions, strict=True)]
    owners = [clip for clip, own in enumerate(texts) for _ in own]
    return list(chain.from_iterable(texts)), owners


def _cider_d(clips: ScoredClips, texts: Sequence[str], owners: Sequence[int]) -> Floats:
    return CiderD(clips.reference_tokens, clips.resources.document_frequency).score(clips.tokens_of(texts), owners)


def _best(scores: Floats, owners: Sequence[int], clips: int) -> list[float]:
    """Return the greatest score of each clip."""
    best = np.full(clips, -np.inf)
    np.maximum.at(best, np.asarray(owners), scores)
    return [float(value) for value in best]


def _df(clips: ScoredClips) -> str:
    given = clips.resources.document_frequency
    return "scored references" if given is None else f"given corpus of {given.clips} clips"


def _mean_of_clips(name: str, per_clip: Sequence[float], settings: Mapping[str, JsonValue]) -> MetricValues:
    return MetricValues(
        corpus={name: sum(per_clip) / len(per_clip)},
        denominator={name: len(per_clip)},
        per_clip={name: list(per_clip)},
        definition={name: {**settings, "over": "clips"}},
    )


SPIDER = Metric("spider", "mean of CIDEr-D and SPICE", _spider)
SPIDER_FL = Metric("spider_fl", "SPIDEr, cut to a tenth where fluency is faulty", _spider_fl)
SPIDER_MAX = Metric(
    "spider_max", "SPIDEr of each clip's best candidate: an oracle", _spider_max, needs_candidates=True, oracle=True
)
CIDER_D_MAX = Metric(
    "cider_d_max", "CIDEr-D of each clip's best candidate: an oracle", _cider_d_max, needs_candidates=True, oracle=True
)
