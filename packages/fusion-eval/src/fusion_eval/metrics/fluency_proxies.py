"""Two cheap signs that captions read badly, for rows whose training could have harmed them (self-critical training above all).

- repetition: the share of captions that say some pair of neighbouring tokens twice.
- unseen_bigrams: the share of captions with a pair of neighbouring tokens that no caption of ``--document-frequency`` has, a
  file that is written from the training captions. Where captions come from templates this is a rate of captions out of the
  grammar; people's own captions have some too, so read it beside the rate of the references.

They are proxies: neither knows whether a sentence is well formed. FENSE's fluency detector (``fer``) is the better judge where
its weights are at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from pydantic import JsonValue

from fusion_eval.metrics.base import Metric, MetricValues, ScoredClips

NO_CORPUS = "needs the document frequencies of the training captions: --document-frequency FILE (fusion eval document-frequency)."


def repeats_itself(tokens: Sequence[str]) -> bool:
    """Return whether some pair of neighbouring tokens occurs twice."""
    pairs = list(pairwise(tokens))
    return len(set(pairs)) < len(pairs)


def _share(name: str, flags: list[bool], definition: dict[str, JsonValue]) -> MetricValues:
    values: list[float | None] = [float(flag) for flag in flags]
    return MetricValues(
        corpus={name: sum(flags) / len(flags)},
        denominator={name: len(flags)},
        per_clip={name: values},
        definition={name: {"over": "clips", **definition}},
    )


def _repetition(clips: ScoredClips) -> MetricValues:
    return _share("repetition", [repeats_itself(tokens) for tokens in clips.caption_tokens], {"n": 2})


def _unseen_bigrams(clips: ScoredClips) -> MetricValues:
    corpus = clips.resources.document_frequency
    if corpus is None:
        return MetricValues({}, {}, {}, {}, unavailable={"unseen_bigrams": NO_CORPUS})
    known = corpus.counts()
    flags = [any(" ".join(pair) not in known for pair in pairwise(tokens)) for tokens in clips.caption_tokens]
    return _share("unseen_bigrams", flags, {"n": 2, "corpus_clips": corpus.clips})


REPETITION = Metric("repetition", "share of captions that say a pair of words twice", _repetition)
UNSEEN_BIGRAMS = Metric(
    "unseen_bigrams", "share of captions with a pair of words that the training captions lack", _unseen_bigrams
)
