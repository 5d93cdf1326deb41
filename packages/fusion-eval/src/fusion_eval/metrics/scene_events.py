"""Metrics that compare a caption with the event graph of a composed scene: what is named, in which order, how often.

They are exact where captions of people are not: the graph says what really sounds in the clip.

- Event-F1 compares the set of classes that a caption names with the set of classes in the graph.
- Order accuracy asks, for each pair of events that follow one another, whether the caption names both in that order.
- Count accuracy asks, for each class that can be counted, whether the caption gives its number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from fusion_eval.errors import ConfigError
from fusion_eval.metrics.base import Metric, MetricValues, ScoredClips
from fusion_eval.metrics.mentions import Lexicon, Sentence, numbers_of_classes, order_of_classes
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
    hits = named_total = true_total = 0
    for scene, sentences in _parse(clips):
        named = {mention.sound_class for sentence in sentences for mention in sentence.mentions}
        true = {event.sound_class for event in scene.events}
        per_clip.append(2 * len(named & true) / (len(named) + len(true)) if true else None)
        hits += len(named & true)
        named_total += len(named)
        true_total += len(true)
    applying = [value for value in per_clip if value is not None]
    if not applying:
        return _absent(["event_f1", "event_f1_micro", "event_precision", "event_recall"], "no scene has an event")
    return MetricValues(
        corpus={
            "event_f1": sum(applying) / len(applying),
            "event_f1_micro": 2 * hits / (named_total + true_total),
            "event_precision": hits / named_total if named_total else 0.0,
            "event_recall": hits / true_total,
        },
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
    )


def order_accuracy(clips: ScoredClips) -> MetricValues:
    """Return how many pairs of events in sequence the caption names in that order, of all and of those named."""
    outcomes = [_judge_order(scene, sentences) for scene, sentences in _parse(clips)]
    right_pairs = [[right for right, _ in pairs] for pairs in outcomes]
    values = _accuracy("order_accuracy", right_pairs, "pairs of classes in sequence")
    named = [right for pairs in outcomes for right, both_named in pairs if both_named]
    name = "order_accuracy_named"
    if not named:
        return replace(values, unavailable=values.unavailable | {name: "no caption names both classes of a pair."})
    return replace(
        values,
        corpus=values.corpus | {name: sum(named) / len(named)},
        denominator=values.denominator | {name: len(named)},
        definition=values.definition | {name: {"over": "pairs of classes in sequence with both named"}},
    )


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
    outcomes = []
    for scene, sentences in _parse(clips):
        counts: Counter[str] = Counter()
        for event in scene.events:
            counts[event.sound_class] += event.count or 0
        told = numbers_of_classes(sentences)
        outcomes.append([told.get(name) == {count} for name, count in sorted(counts.items()) if count])
    return _accuracy("count_accuracy", outcomes, "classes that can be counted")


def _accuracy(name: str, outcomes: Sequence[Sequence[bool]], things: str) -> MetricValues:
    """Return the share of right outcomes over all clips, given each clip's; a clip without any does not apply."""
    total = sum(map(len, outcomes))
    if not total:
        return _absent([name], f"no scene has {things}")
    return MetricValues(
        corpus={name: sum(map(sum, outcomes)) / total},
        denominator={name: total},
        per_clip={name: [sum(outcome) / len(outcome) if outcome else None for outcome in outcomes]},
        definition={name: {"over": things, "clips": sum(map(bool, outcomes)), "not_named": "wrong"}},
    )


def _absent(names: Sequence[str], reason: str) -> MetricValues:
    return MetricValues(
        corpus={}, denominator={}, per_clip={}, definition={}, unavailable=dict.fromkeys(names, f"{reason}.")
    )


EVENT_F1 = Metric("event_f1", "agreement of the named sound classes with the scene's", event_f1, needs_events=True)
ORDER_ACCURACY = Metric(
    "order_accuracy", "share of event pairs told in the order in which they happen", order_accuracy, needs_events=True
)
COUNT_ACCURACY = Metric(
    "count_accuracy", "share of countable classes told with their number", count_accuracy, needs_events=True
)
