"""Metrics that compare a caption with the event graph of a composed scene: what is named, in which order, how often.

They are exact where captions of people are not: the graph says what really sounds in the clip.

- Event-F1 compares the set of classes that a caption names with the set of classes in the graph.
- Order accuracy asks, for each pair of events that follow one another, whether the caption names both in that order.
- Count accuracy asks, for each class that can be counted, whether the caption gives its number.

Values over classes or pairs of all clips are ratios of sums over the clips, which are kept as sufficient statistics.

Legend: C clips, F columns of a sufficient statistic.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from fusion_eval.errors import ConfigError
from fusion_eval.metrics.base import Metric, MetricValues, ScoredClips, SufficientStatistics
from fusion_eval.metrics.mentions import Lexicon, Sentence, numbers_of_classes, order_of_classes
from fusion_eval.ngrams import Floats
from fusion_eval.schemas.events import SceneItem

Parsed = list[tuple[SceneItem, list[Sentence]]]


def _parse(clips: ScoredClips) -> Parsed:
    """Return the scene and the parsed caption of each clip."""
    if clips.scenes is None or clips.lexicon is None:
        raise ConfigError("Metrics of scene events need the event graphs of the split; give them with --events.")
    lexicon = Lexicon(clips.lexicon)
    return [(scene, lexicon.parse(caption)) for scene, caption in zip(clips.scenes, clips.captions, strict=True)]


def event_f1(clips: ScoredClips) -> MetricValues:
    """Return F1 of the named classes: the mean over clips, and micro-averaged F1, precision and recall."""
    per_clip: list[float | None] = []
    rows = []
    for scene, sentences in _parse(clips):
        named = {mention.sound_class for sentence in sentences for mention in sentence.mentions}
        true = {event.sound_class for event in scene.events}
        hits = len(named & true)
        per_clip.append(2 * hits / (len(named) + len(true)) if true else None)
        rows.append((hits, len(named), len(true)))
    applying = [value for value in per_clip if value is not None]
    if not applying:
        return _absent(["event_f1", "event_f1_micro", "event_precision", "event_recall"], "no scene has an event")
    statistics = _statistics(("classes_hit", "classes_named", "classes_true"), rows, _event_ratios)
    _, named_total, true_total = map(sum, zip(*rows, strict=True))
    return MetricValues(
        corpus={"event_f1": sum(applying) / len(applying)} | _corpus(statistics),
        denominator={
            "event_f1": len(applying),
            "event_f1_micro": named_total + true_total,
            "event_precision": named_total,
            "event_recall": true_total,
        },
        per_clip={"event_f1": per_clip},
        definition={
            "event_f1": {"over": "clips", "nothing_named": 0.0},
            "event_f1_micro": {"over": "named and true classes of all clips"},
            "event_precision": {"over": "named classes of all clips"},
            "event_recall": {"over": "true classes of all clips"},
        },
        statistics=statistics,
    )


def _event_ratios(sums: Floats) -> dict[str, Floats]:
    hits, named, true = np.moveaxis(sums, -1, 0)
    return {
        "event_f1_micro": _ratio(2 * hits, named + true),
        "event_precision": _ratio(hits, named, empty=0.0),
        "event_recall": _ratio(hits, true),
    }


def order_accuracy(clips: ScoredClips) -> MetricValues:
    """Return how many pairs of events in sequence the caption names in that order, of all and of those named."""
    outcomes = [_judge_order(scene, sentences) for scene, sentences in _parse(clips)]
    rows = [(sum(right for right, _ in pairs), sum(named for _, named in pairs), len(pairs)) for pairs in outcomes]
    statistics = _statistics(("pairs_right", "pairs_named", "pairs"), rows, _order_ratios)
    values = _accuracy("order_accuracy", rows, statistics, "pairs of classes in sequence")
    named_total = sum(named for _, named, _ in rows)
    name = "order_accuracy_named"
    if not named_total:
        return replace(values, unavailable=values.unavailable | {name: "no caption names both classes of a pair."})
    return replace(
        values,
        corpus=_corpus(statistics),
        denominator=values.denominator | {name: named_total},
        definition=values.definition | {name: {"over": "pairs of classes in sequence with both named"}},
    )


def _order_ratios(sums: Floats) -> dict[str, Floats]:
    right, named, pairs = np.moveaxis(sums, -1, 0)
    return {"order_accuracy": _ratio(right, pairs), "order_accuracy_named": _ratio(right, named)}


def _judge_order(scene: SceneItem, sentences: Sequence[Sentence]) -> list[tuple[bool, bool]]:
    """Return for each ordered pair of classes whether it is told rightly and whether both are named.

    Pairs of one class, and classes that follow one another both ways, have no order that a caption could tell.
    """
    classes = [event.sound_class for event in scene.events]
    pairs = {(classes[earlier], classes[later]) for earlier, later in scene.order}
    ranks = order_of_classes(sentences)
    outcomes = []
    for first, second in sorted(pairs):
        if first == second or (second, first) in pairs:
            continue
        named = first in ranks and second in ranks
        outcomes.append((named and ranks[first] < ranks[second], named))
    return outcomes


def count_accuracy(clips: ScoredClips) -> MetricValues:
    """Return for how many countable classes the caption gives the right number and no other."""
    rows = []
    for scene, sentences in _parse(clips):
        counts: Counter[str] = Counter()
        for event in scene.events:
            counts[event.sound_class] += event.count or 0
        told = numbers_of_classes(sentences)
        right = [told.get(name) == {count} for name, count in counts.items() if count]
        rows.append((sum(right), len(right)))
    statistics = _statistics(("counts_right", "counts"), rows, _count_ratio)
    return _accuracy("count_accuracy", rows, statistics, "classes that can be counted")


def _count_ratio(sums: Floats) -> dict[str, Floats]:
    return {"count_accuracy": _ratio(sums[..., 0], sums[..., 1])}


def _accuracy(name: str, rows: Sequence[Sequence[int]], statistics: SufficientStatistics, things: str) -> MetricValues:
    """Return the share of right things over all clips; a row has those that are right first, and all of them last."""
    total = sum(row[-1] for row in rows)
    if not total:
        return _absent([name], f"no scene has {things}")
    return MetricValues(
        corpus={name: _corpus(statistics)[name]},
        denominator={name: total},
        per_clip={name: [row[0] / row[-1] if row[-1] else None for row in rows]},
        definition={name: {"over": things, "clips": sum(row[-1] > 0 for row in rows), "not_named": "wrong"}},
        statistics=statistics,
    )


def _statistics(
    names: tuple[str, ...], rows: Sequence[Sequence[int]], corpus: Callable[[Floats], dict[str, Floats]]
) -> SufficientStatistics:
    return SufficientStatistics(names, np.array(rows, dtype=np.float64), corpus)


def _corpus(statistics: SufficientStatistics) -> dict[str, float]:
    """Return the values of all clips together."""
    return {name: float(value) for name, value in statistics.corpus(statistics.values_CF.sum(axis=0)).items()}


def _ratio(part: Floats, whole: Floats, empty: float = np.nan) -> Floats:
    """Return part / whole, and ``empty`` where there is no whole."""
    return np.divide(part, whole, out=np.full(np.shape(whole), empty), where=whole > 0)


def _absent(names: Sequence[str], reason: str) -> MetricValues:
    return MetricValues(
        corpus={}, denominator={}, per_clip={}, definition={}, unavailable=dict.fromkeys(names, f"{reason}.")
    )


EVENT_F1 = Metric(
    "event_f1",
    "agreement of the named sound classes with the scene's",
    event_f1,
    needs_events=True,
    of_sums=_event_ratios,
)
ORDER_ACCURACY = Metric(
    "order_accuracy",
    "share of event pairs told in the order in which they happen",
    order_accuracy,
    needs_events=True,
    of_sums=_order_ratios,
)
COUNT_ACCURACY = Metric(
    "count_accuracy",
    "share of countable classes told with their number",
    count_accuracy,
    needs_events=True,
    of_sums=_count_ratio,
)
