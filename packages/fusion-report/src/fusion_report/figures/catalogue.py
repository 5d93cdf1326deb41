"""Every figure of a study by the name of its files."""

from __future__ import annotations

from collections.abc import Callable

from fusion_report.figures.architecture import architecture
from fusion_report.figures.breakdown import class_breakdown, length_breakdown, subset_breakdown
from fusion_report.figures.differences import bootstrap_differences
from fusion_report.figures.gates import gates
from fusion_report.figures.pareto import pareto
from fusion_report.figures.stability import stability
from fusion_report.figures.style import Figure
from fusion_report.figures.target import target_figure
from fusion_report.figures.training import training
from fusion_report.study import Study

FIGURES: dict[str, Callable[[Study], Figure]] = {
    "architecture": architecture,
    "pareto": pareto,
    "stability": stability,
    "gates": gates,
    "curves": training,
    "bootstrap": bootstrap_differences,
    "breakdown-classes": class_breakdown,
    "breakdown-lengths": length_breakdown,
    "breakdown-subsets": subset_breakdown,
    "target-hours": target_figure,
}
