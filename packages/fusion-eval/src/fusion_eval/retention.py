"""How right answers are, and whether they stayed right: scoring of question answering, paired statistics of before and after.

Three scorings are kept apart. *exact*: the normalised answer equals the known one. *contains*: the known one stands in it, word
by word. *likelihood*: among the options the known one is the likeliest, by the sum of its tokens' log-probabilities, or
(*likelihood_normalised*) by their mean.

Statistics of n paired items, of which g were gained and l lost: Δ = (g − l)/n; McNemar's exact two-sided p = min(1, 2·P(X ≤
min(g, l))), X ~ Binomial(g + l, ½); and the lower end of a one-sided 95 % interval for Δ by Tango's score (Statistics in Medicine
1998), which holds where few items or none flip. Items of one image are not independent, so g, l and n are divided by the design
effect, the variance of Δ with clusters over that without (at least 1); where nothing flips a cluster counts as one item.
"""

from __future__ import annotations

import math
import string
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from fusion_eval.errors import DataError
from fusion_eval.schemas.retention import (
    SCORINGS,
    Answers,
    Change,
    ConditionRetention,
    LogprobShift,
    Outcome,
    Question,
    Retention,
    Scoring,
    Verdict,
)

MARGIN = -0.005
"""The largest loss that still counts as none: 0.5 points of accuracy."""
CONFIDENCE = 0.95

METHOD = {
    "answers": "greedy, in lower case without articles and punctuation, number words as digits",
    "likelihood": "the option with the largest sum of log-probabilities of its tokens; normalised: with the largest mean",
    "p": "McNemar, exact, two-sided",
    "bound": "one-sided 95 %, Tango's score, with questions divided by the design effect of images",
    "verdict": "identical: all logits to the bit; kept: bound >= margin; lost: delta < margin; else undecided",
}

_ARTICLES = {"a", "an", "the"}
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DIGITS = {word: str(number) for number, word in enumerate(_NUMBERS)}
_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation + "’‘“”–—…", " "))


def normalise_answer(text: str) -> str:
    """Return an answer in lower case without articles, punctuation and needless spaces; number words become digits."""
    words = unicodedata.normalize("NFKC", text).lower().translate(_PUNCTUATION).split()
    return " ".join(_DIGITS.get(word, word) for word in words if word not in _ARTICLES)


def is_exact(given: str, known: str) -> bool:
    """Say whether two answers are the same after normalisation."""
    return normalise_answer(given) == normalise_answer(known)


def contains_answer(given: str, known: str) -> bool:
    """Say whether the known answer stands in the given one as whole words."""
    return f" {normalise_answer(known)} " in f" {normalise_answer(given)} "


def likeliest(logprobs: Sequence[float], lengths: Sequence[int] | None = None) -> int:
    """Return which option is the likeliest, by the sums or, with lengths (tokens), by the means; the first of equals."""
    scores = logprobs if lengths is None else [value / length for value, length in zip(logprobs, lengths, strict=True)]
    return int(np.argmax(scores))


def compare_answers(
    questions: Mapping[str, Question], before: Answers, after: Answers, scoring: Scoring
) -> ConditionRetention:
    """Compare the answers to the same questions before and after.

    Args:
        questions: kind, cluster and known answer of each question.
        before, after: the answers, each to all of the questions.
        scoring: what the verdict is about.

    Raises:
        ValueError: no question has this scoring: a likelihood needs options.
    """
    found = {name: paired_change(questions, before, after, name) for name in SCORINGS}
    changes = {name: change for name, change in found.items() if change is not None}
    if scoring not in changes:
        raise ValueError(f"no question can be scored by {scoring}")
    kinds = {kind: _of_kind(questions, kind) for kind in dict.fromkeys(one.category for one in questions.values())}
    by_kind = {kind: paired_change(some, before, after, scoring) for kind, some in kinds.items()}
    identical = before.logits_sha256 == after.logits_sha256
    return ConditionRetention(
        identical=identical,
        logits_sha256_before=before.logits_sha256,
        logits_sha256_after=after.logits_sha256,
        verdict="identical" if identical else verdict(changes[scoring]),
        scorings=changes,
        by_category={kind: change for kind, change in by_kind.items() if change is not None},
        answer_logprob=_logprob_shift(questions, before, after),
        questions=dict(questions),
        before=before.outcomes,
        after=after.outcomes,
    )


def condense(found: Retention) -> Retention:
    """Return the same findings with only those questions listed that flipped by the scoring of the verdict; all numbers stay."""
    conditions = {name: _flipped(one, found.scoring) for name, one in found.conditions.items()}
    return found.model_copy(update={"conditions": conditions})


def _flipped(found: ConditionRetention, scoring: Scoring) -> ConditionRetention:
    flipped = [
        name for name in found.questions if getattr(found.before[name], scoring) != getattr(found.after[name], scoring)
    ]
    listed = {part: {name: getattr(found, part)[name] for name in flipped} for part in ("questions", "before", "after")}
    return found.model_copy(update={"listed": "flipped", **listed})


def verdict(change: Change, margin: float = MARGIN) -> Verdict:
    """Say what a change shows: that no more than the margin was lost, that more was, or neither."""
    if change.bound >= margin:
        return "kept"
    return "lost" if change.delta < margin else "undecided"


def paired_change(
    questions: Mapping[str, Question], before: Answers, after: Answers, scoring: Scoring
) -> Change | None:
    """Compare one scoring over the questions that have it; None where none has."""
    pairs = {
        name: (getattr(before.outcomes[name], scoring), getattr(after.outcomes[name], scoring)) for name in questions
    }
    pairs = {name: pair for name, pair in pairs.items() if None not in pair}
    if not pairs:
        return None
    right_N2 = np.array(list(pairs.values()), dtype=bool)
    return change_of(right_N2[:, 0], right_N2[:, 1], [questions[name].cluster for name in pairs])


def change_of(before_N: NDArray[np.bool_], after_N: NDArray[np.bool_], clusters: Sequence[str]) -> Change:
    """Compare right answers before and after, of items in clusters (such as the questions of one image)."""
    step_N = after_N.astype(np.float64) - before_N.astype(np.float64)
    gained, lost, count = int((step_N > 0).sum()), int((step_N < 0).sum()), len(step_N)
    effect, error = _clustered(step_N, clusters)
    return Change(
        n=count,
        clusters=len(set(clusters)),
        before=float(before_N.mean()),
        after=float(after_N.mean()),
        delta=(gained - lost) / count,
        gained=gained,
        lost=lost,
        mcnemar_p=mcnemar(gained, lost),
        bound=score_bound(gained / effect, lost / effect, count / effect),
        standard_error=error,
        design_effect=effect,
    )


def change_between(first: ConditionRetention, then: ConditionRetention, scoring: Scoring) -> Change:
    """Compare the right answers of two runs that were each compared with the same backbone, the questions paired.

    A question that one of them does not list did not flip, so it is answered as the backbone answered it.

    Args:
        first, then: what the two runs still answer under one condition, of whole or condensed findings.
        scoring: the scoring that the verdicts are about, which is what condensed findings list.

    Raises:
        DataError: the backbone or the questions are not the same, or questions that are not listed share images.
    """
    size = then.scorings[scoring].n
    if first.logits_sha256_before != then.logits_sha256_before or first.scorings[scoring].n != size:
        raise DataError("The two runs were asked other questions, or of another backbone; measure both again.")
    pairs: list[tuple[bool, bool]] = []
    clusters: list[str] = []
    for name, question in {**first.questions, **then.questions}.items():
        right = [
            getattr((one.after.get(name) or other.before[name]), scoring)
            for one, other in ((first, then), (then, first))
        ]
        if None not in right:
            pairs.append((right[0], right[1]))
            clusters.append(question.cluster)
    unlisted = size - len(pairs)
    if unlisted and then.scorings[scoring].clusters != size:
        raise DataError("The findings are condensed and questions share images; measure both runs again.")
    right_before = round(first.scorings[scoring].after * size) - sum(before for before, _ in pairs)
    pairs += [(place < right_before,) * 2 for place in range(unlisted)]
    clusters += [f"unlisted {place}" for place in range(unlisted)]
    right_N2 = np.array(pairs, dtype=bool)
    return change_of(right_N2[:, 0], right_N2[:, 1], clusters)


def mcnemar(gained: int, lost: int) -> float:
    """Return the exact two-sided p of McNemar's test; 1 where nothing flips."""
    flips = gained + lost
    tail = sum(math.comb(flips, count) for count in range(min(gained, lost) + 1))
    return min(1.0, (2 * tail) / (1 << flips))  # whole numbers: exact however many flip


def score_bound(gained: float, lost: float, count: float, confidence: float = CONFIDENCE) -> float:
    """Return the lower end of the one-sided score interval of Δ (Tango 1998).

    The bound is where (g − l − nδ) / √(n (2 q(δ) + δ (1 − δ))) is the normal quantile, q(δ) being the likeliest share of lost
    items if Δ were δ.
    """
    quantile = NormalDist().inv_cdf(confidence)
    low, high = -1.0, (gained - lost) / count
    for _ in range(60):
        middle = (low + high) / 2
        if _score(middle, gained, lost, count) > quantile:
            low = middle
        else:
            high = middle
    return low


def _score(delta: float, gained: float, lost: float, count: float) -> float:
    """Return Tango's statistic against Δ = δ."""
    linear = -gained - lost + (2 * count - gained + lost) * delta
    root = math.sqrt(max(0.0, linear**2 + 8 * count * lost * delta * (1 - delta)))
    share = (root - linear) / (4 * count)
    variance = count * (2 * share + delta * (1 - delta))
    distance: float = gained - lost - count * delta
    return distance / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, distance)


def _clustered(step_N: NDArray[np.float64], clusters: Sequence[str]) -> tuple[float, float]:
    """Return the design effect of clusters, and the standard error of the mean with them."""
    count = len(step_N)
    _, member_N = np.unique(np.asarray(clusters), return_inverse=True)
    groups = int(member_N.max()) + 1
    residual_N = step_N - step_N.mean()
    independent = float(residual_N @ residual_N) / count / max(1, count - 1)
    if independent == 0.0:
        return count / groups, 0.0
    sums_C = np.bincount(member_N, weights=residual_N)
    spread = groups / (groups - 1) if groups > 1 else 1.0
    clustered = float(sums_C @ sums_C) / count**2 * spread
    return max(1.0, clustered / independent), math.sqrt(max(clustered, independent))


def _logprob_shift(questions: Mapping[str, Question], before: Answers, after: Answers) -> LogprobShift:
    """Return the mean of after less before of the known answers' log-probabilities, with its standard error."""
    step_N = _logprobs(after.outcomes[name] for name in questions) - _logprobs(
        before.outcomes[name] for name in questions
    )
    error = _clustered(step_N, [question.cluster for question in questions.values()])[1]
    return LogprobShift(mean=float(step_N.mean()), standard_error=error)


def _logprobs(outcomes: Iterable[Outcome]) -> NDArray[np.float64]:
    return np.array([outcome.answer_logprob for outcome in outcomes], dtype=np.float64)


def _of_kind(questions: Mapping[str, Question], kind: str) -> dict[str, Question]:
    return {name: question for name, question in questions.items() if question.category == kind}
