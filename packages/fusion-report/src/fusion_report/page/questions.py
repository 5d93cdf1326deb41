"""The questions about each clip of the page, and which of them every run answered rightly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fusion_eval.errors import DataError
from fusion_eval.schemas.questions import ModalityScores, QuestionItem
from fusion_eval.schemas.retention import Answers, Outcome

from fusion_report.page.outputs import PageResults
from fusion_report.results import Run
from fusion_report.tables.answers import FILE

Asked = Mapping[str, Sequence[QuestionItem]]
"""The questions about each clip."""


class PageQuestions:
    """Questions and answers of a folder of results; where a file is absent or spoiled there are none.

    Args:
        results: the folder.
    """

    def __init__(self, results: PageResults) -> None:
        self._results = results.results
        self._runs = {run.entry.name: run for run in results.results.runs}

    def asked(self, runs: Sequence[str], dataset: str, split: str) -> dict[str, list[QuestionItem]]:
        """Return the questions that the first of some runs, by their names, was asked about the clips of a split."""
        for name in runs:
            scores = _scores(self._runs[name])
            if scores is None or (scores.dataset, scores.split) != (dataset, split) or scores.questions_sha256 is None:
                continue  # what it was asked about other clips, where it captions these to see what it has kept
            found: dict[str, list[QuestionItem]] = {}
            try:
                for item in self._results.questions(scores.questions_sha256).items:
                    found.setdefault(item.clip, []).append(item)
            except DataError:
                continue
            return found
        return {}

    def answered(self, run: str, condition: str, asked: Asked, clips: Sequence[str]) -> list[list[bool | None]] | None:
        """Return for each clip which of its questions a run answered rightly under a condition; None where it was not asked."""
        try:
            outcomes = self._runs[run].read(Answers, f"answers/{condition}.json").outcomes
        except DataError:
            return None
        rows = [[_right(outcomes.get(item.id)) for item in asked.get(clip, ())] for clip in clips]
        return rows if any(mark is not None for row in rows for mark in row) else None


def describe_questions(items: Sequence[QuestionItem]) -> list[dict[str, Any]]:
    """Return what the page shows of the questions about a clip."""
    return [{"text": item.text, "answer": item.answer, "kind": item.kind} for item in items]


def _right(outcome: Outcome | None) -> bool | None:
    return None if outcome is None else outcome.likelihood


def _scores(run: Run) -> ModalityScores | None:
    try:
        return run.read(ModalityScores, FILE)
    except DataError:
        return None
