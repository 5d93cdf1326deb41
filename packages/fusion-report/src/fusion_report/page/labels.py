"""What runs and stages are called on the page, and in which order metrics stand."""

from __future__ import annotations

from collections.abc import Iterable

from fusion_eval.schemas.study import StudyRun

from fusion_report import metric_names

METRICS = [*metric_names.METRICS, *metric_names.FURTHER]
"""The metrics of the tables, in their order; others are shown for single clips under their own names."""

STAGES = {"xe": "", "scst": " + SCST"}


def in_order(names: Iterable[str]) -> list[str]:
    """Return metrics in the order of the tables, those that are in no table after them by name."""
    return sorted(names, key=lambda name: (METRICS.index(name) if name in METRICS else len(METRICS), name))


def stage_label(stage: str) -> str:
    """Return what a stage adds to the name of its system; cross-entropy training adds nothing."""
    return STAGES.get(stage, f" · {stage}")


def run_label(run: StudyRun) -> str:
    """Return what a run is, its seed left out: system, stage and how it differs from the default."""
    variant = f", {run.variant}" if run.variant else ""
    return f"{run.system}{stage_label(run.stage)}{variant}"
