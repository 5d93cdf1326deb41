"""Every table of a study by the name of its files."""

from __future__ import annotations

from collections.abc import Callable

from fusion_report.study import Study
from fusion_report.table import Table
from fusion_report.tables.ablations import ablation_table
from fusion_report.tables.answers import answer_table
from fusion_report.tables.comparisons import comparison_table
from fusion_report.tables.cost import cost_table
from fusion_report.tables.decoding import decoding_table
from fusion_report.tables.earlier_skills import earlier_skills_table
from fusion_report.tables.examples import example_table
from fusion_report.tables.main_results import generalisation_table, main_table
from fusion_report.tables.objectives import objective_table
from fusion_report.tables.retention import retention_table
from fusion_report.tables.video import video_table

TABLES: dict[str, Callable[[Study], Table]] = {
    "main-results": main_table,
    "generalisation": generalisation_table,
    "ablations": ablation_table,
    "decoding": decoding_table,
    "objectives": objective_table,
    "retention": retention_table,
    "video": video_table,
    "answers": answer_table,
    "earlier-skills": earlier_skills_table,
    "cost": cost_table,
    "comparisons": comparison_table,
    "examples": example_table,
}
