"""A study as tables, figures and verdicts look at it: its results, its groups of runs, and what measures them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fusion_eval.errors import DataError
from fusion_eval.schemas import RunCard, Scores

from fusion_report.groups import Group, default_of, group_runs, used_by
from fusion_report.measuring import Measuring, scores_of
from fusion_report.metric_names import score_metric
from fusion_report.results import Results, find_results, read_results

MAIN = "A2"
PRIMARY_DATASET, SECONDARY_DATASET = "audiocaps", "clotho"


@dataclass(frozen=True)
class Study:
    """What everything in a report is made from.

    Attributes:
        results: the folder and its card.
        groups: the runs, seeds together.
        measuring: computes values and differences.
    """

    results: Results
    groups: tuple[Group, ...]
    measuring: Measuring

    @property
    def dataset(self) -> str:
        """The dataset of the main table: AudioCaps where the study has it, else that of the first of the main systems."""
        found = [group.dataset for group in self.main_groups() if group.dataset != SECONDARY_DATASET]
        return PRIMARY_DATASET if PRIMARY_DATASET in found or not found else found[0]

    @property
    def score(self) -> str:
        """The metric that systems of the main table are ranked by."""
        return score_metric(self.files(self.main(self.dataset)))

    def main_groups(self) -> tuple[Group, ...]:
        """Return the systems that are compared with each other, of any dataset."""
        return used_by(self.groups, MAIN)

    def main(self, dataset: str) -> tuple[Group, ...]:
        """Return the systems that are compared with each other on a dataset."""
        return tuple(group for group in self.main_groups() if group.dataset == dataset)

    def reference(self, stage: str = "xe", dataset: str | None = None) -> Group | None:
        """Return the additive system's default."""
        return default_of(self.groups, stage=stage, dataset=self.dataset if dataset is None else dataset)

    def files(self, groups: Iterable[Group], condition: str = "audio") -> list[Scores]:
        """Return all scores of some groups."""
        return [scores for group in groups for _, scores in scores_of(group, condition)]


def open_study(folder: Path | None = None, measuring: Measuring | None = None) -> Study:
    """Read a results folder, by default the only one or the embedded tier's.

    Raises:
        ConfigError: there are several results and none is preferred.
        DataError: there are none, or the study card is damaged.
    """
    results = read_results(find_results(folder))
    return Study(results, group_runs(results), measuring or Measuring())


def cards_of(group: Group) -> list[tuple[str, RunCard]]:
    """Return the run cards that a group's runs left, each with its place."""
    found = []
    for run in group.done("run_card.json"):
        try:
            found.append((run.place("run_card.json"), run.card))
        except DataError:
            continue
    return found
