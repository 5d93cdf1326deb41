"""What tables and figures call the metrics, and which one is the score of a study."""

from __future__ import annotations

from collections.abc import Iterable

from fusion_eval.schemas import Scores

METRICS = {
    "spider": "SPIDEr",
    "spider_fl": "SPIDEr-FL",
    "cider_d": "CIDEr-D",
    "meteor": "METEOR",
    "bleu_4": "BLEU-4",
    "spice": "SPICE",
    "rouge_l": "ROUGE-L",
    "fense": "FENSE",
    "event_f1": "event-F1",
    "answer_accuracy": "answer accuracy",
}
"""The metrics of captions and answers, in the order of the columns."""

FURTHER = {"bleu_1": "BLEU-1", "order_accuracy": "order", "count_accuracy": "count"}
"""Metrics that are no columns of the study's tables."""

WANTED = ("spider", "cider_d", "meteor", "bleu_4", "spice")  # by the plan of the study, on AudioCaps
SCORE, FALLBACK = "spider", "cider_d"
CONDITIONS = {
    "audio": "right audio",
    "shuffled": "another clip's audio",
    "none": "no audio",
    "class_prior": "class prior",
    "nearest_neighbour": "nearest neighbour",
}


def label_of(metric: str) -> str:
    """Return what the metric is called; of what chose by the references, that it is a maximum."""
    known = METRICS | FURTHER
    chosen = metric.removesuffix("_max")
    if chosen != metric and chosen in known:
        return f"{known[chosen]}-max"
    return known.get(metric, metric.replace("_", " "))


def score_metric(files: Iterable[Scores]) -> str:
    """Return the metric that systems are ranked by: SPIDEr where every file has it, else CIDEr-D."""
    found = list(files)
    return SCORE if found and all(SCORE in one.metrics for one in found) else FALLBACK


def present(files: Iterable[Scores]) -> tuple[str, ...]:
    """Return the metrics of captions that some file has, in the order of the columns."""
    names = {name for one in files for name in one.metrics if name not in one.oracle}
    return tuple(name for name in METRICS if name in names)
