"""ROUGE-L: how much of a caption and of a reference their longest common subsequence of words covers.

Lin and Och, "Automatic Evaluation of Machine Translation Quality Using Longest Common Subsequence and Skip-Bigram
Statistics", ACL 2004, as coco-caption computes it: with P and R the greatest share of the caption and the greatest share
of a reference, each over the references of the clip, and β = 1.2,

    ROUGE-L = (1 + β²) P R / (R + β² P)

An empty caption scores 0, and a reference without words gives no share. The corpus value is the mean of the clips.
"""

from __future__ import annotations

from collections.abc import Sequence

from fusion_eval.metrics.base import Metric, MetricValues, ScoredClips
from fusion_eval.metrics.tokenized import tokenize_clips
from fusion_eval.ngrams import Tokens

BETA = 1.2

_LONGEST_MASK = 1024  # tokens of which the places are kept in one integer, unless the other side is longer still


def rouge_l(captions: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, list[float]]:
    """Return the ROUGE-L of a corpus and of each of its clips, from captions as people write them.

    Args:
        captions: one caption a clip.
        references: the references of each clip.

    Raises:
        DataError: the numbers of captions and clips differ, there are none, or a clip has no references.
    """
    per_clip = rouge_l_of_tokens(*tokenize_clips(captions, references))
    return sum(per_clip) / len(per_clip), per_clip


def rouge_l_of_tokens(captions: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> list[float]:
    """Return the ROUGE-L of each tokenised caption."""
    return [_score(caption, texts) for caption, texts in zip(captions, references, strict=True)]


def _score(caption: Tokens, references: Sequence[Tokens]) -> float:
    if not caption:
        return 0.0
    places = _places(caption) if len(caption) <= _LONGEST_MASK else None
    precision = recall = 0.0
    for reference in references:
        if not reference:
            continue
        if places is not None:
            common = _longest_common(places, len(caption), reference)
        else:
            common = longest_common_subsequence(caption, reference)
        precision = max(precision, common / len(caption))
        recall = max(recall, common / len(reference))
    if not precision or not recall:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def longest_common_subsequence(first: Tokens, second: Tokens) -> int:
    """Return the length of the longest common subsequence of two sequences of tokens."""
    shorter, longer = sorted((first, second), key=len)
    return _longest_common(_places(shorter), len(shorter), longer)


def _places(tokens: Tokens) -> dict[str, int]:
    """Return for each token an integer in which the bits of its places are set."""
    places: dict[str, int] = {}
    for place, token in enumerate(tokens):
        places[token] = places.get(token, 0) | (1 << place)
    return places


def _longest_common(places: dict[str, int], length: int, tokens: Tokens) -> int:
    """Return the length of the longest common subsequence of ``tokens`` and a sequence given by its places.

    The rows of the usual table grow by 0 or 1 from cell to cell, so a row is one integer, a 0 bit where it grows, and
    one addition makes the next row (Hyyrö, "Bit-Parallel LCS-length Computation Revisited", AWOCA 2004).
    """
    row = full = (1 << length) - 1
    for token in tokens:
        mask = places.get(token)
        if mask:
            found = row & mask
            row = (row + found) | (row - found)
    return length - (row & full).bit_count()


def _compute(clips: ScoredClips) -> MetricValues:
    per_clip = rouge_l_of_tokens(clips.caption_tokens, clips.reference_tokens)
    return MetricValues(
        corpus={"rouge_l": sum(per_clip) / len(per_clip)},
        denominator={"rouge_l": len(per_clip)},
        per_clip={"rouge_l": list(per_clip)},
        definition={"rouge_l": {"beta": BETA, "over": "clips"}},
    )


METRIC = Metric("rouge_l", "longest common subsequence with the references (β 1.2)", _compute)
