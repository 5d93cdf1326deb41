"""What things are called on the page: runs, stages, metrics."""

from __future__ import annotations

from collections.abc import Iterable

from fusion_eval.schemas.study import StudyRun

METRICS = {
    "spider": "SPIDEr",
    "spider_fl": "SPIDEr-FL",
    "cider_d": "CIDEr-D",
    "spice": "SPICE",
    "meteor": "METEOR",
    "rouge_l": "ROUGE-L",
    "bleu_1": "BLEU-1",
    "bleu_4": "BLEU-4",
    "fense": "FENSE",
    "event_f1": "event-F1",
    "order_accuracy": "order",
    "count_accuracy": "count",
}
"""The metrics of the tables, in their order; others are shown for single clips under their own names."""

STAGES = {"xe": "", "scst": " + SCST"}


def metric_label(name: str) -> str:
    """Return the name of a metric as papers write it."""
    oracle = name.removesuffix("_max")
    if oracle != name and oracle in METRICS:
        return f"{METRICS[oracle]}-max"
    return METRICS.get(name, name.replace("_", " "))


def in_order(names: Iterable[str]) -> list[str]:
    """Return metrics in the order of the tables, those that are in no table after them by name."""
    order = list(METRICS)
    return sorted(names, key=lambda name: (order.index(name) if name in METRICS else len(order), name))


def stage_label(stage: str) -> str:
    """Return what a stage adds to the name of its system; cross-entropy training adds nothing."""
    return STAGES.get(stage, f" · {stage}")


def run_label(run: StudyRun) -> str:
    """Return what a run is, its seed left out: system, stage and how it differs from the default."""
    variant = f", {run.variant}" if run.variant else ""
    return f"{run.system}{stage_label(run.stage)}{variant}"
