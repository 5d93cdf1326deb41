"""Questions about what is seen and heard: how many are answered rightly by what was bound, by what a question needs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from statistics import fmean

from fusion_eval.comparing_answers import ALL, compare_answers_by_kind
from fusion_eval.errors import DataError
from fusion_eval.schemas.comparison import MetricComparison
from fusion_eval.schemas.questions import Accuracy, ModalityCondition, ModalityScores
from fusion_eval.schemas.retention import Answers

from fusion_report.groups import Group
from fusion_report.results import Run
from fusion_report.study import Study
from fusion_report.table import Cell, Column, Row, Table, difference, empty, measured, number, words
from fusion_report.tables.captions import HOW, PAIRED
from fusion_report.tables.video import NOTHING, full_condition, video_groups

FILE = "modalities.json"


def answer_table(study: Study) -> Table:
    """Return a row a condition of the runs that answered questions about clips."""
    groups = [group for group in video_groups(study) if group.stage == "video"]
    asked = [own for group in groups if (own := _Asked(study, group)).runs]
    kinds = list(dict.fromkeys(kind for own in asked for kind in own.kinds))
    rows = [row for own in asked for row in own.rows(kinds)]
    if not rows:
        reason = " ".join(reason for group in groups for reason in group.lacking(_scores))
        rows = [Row(cells=(words("(no run)"), empty(reason or "The study has no run that was asked about clips.")))]
    columns = [Column(key=kind, title=kind) for kind in kinds]
    gains = [Column(key=f"difference_{kind}", title=f"Δ {kind}") for kind in kinds]
    if not kinds:
        columns = [Column(key=ALL, title=ALL)]
    return Table(
        key="answers",
        title="Answers to questions about clips",
        caption=_caption(study, asked),
        columns=(Column(key="bound", title="Watched and heard", numeric=False), *columns, *gains),
        rows=tuple(rows),
    )


def _scores(run: Run) -> ModalityScores:
    return run.read(ModalityScores, FILE)


class _Asked:
    """A group of runs, and what those of them that were asked have answered."""

    def __init__(self, study: Study, group: Group) -> None:
        self.study, self.group = study, group
        self.runs = [run for run in group.done(FILE) if _has_questions(run)]

    @property
    def scores(self) -> list[ModalityScores]:
        """What was found, a file a seed."""
        return [_scores(run) for run in self.runs]

    @cached_property
    def conditions(self) -> list[str]:
        """The conditions of all seeds: everything bound rightly, less of it, wrongly, nothing."""
        names = sorted({name for one in self.scores for name in one.conditions})
        full = full_condition(names)
        return sorted(names, key=lambda name: (name != full, name in NOTHING, "shuffled" in name))

    @property
    def kinds(self) -> list[str]:
        """All questions, then each kind."""
        found = {kind for one in self.scores for condition in one.conditions.values() for kind in condition.by_kind}
        return [ALL, *sorted(found)]

    def rows(self, kinds: Sequence[str]) -> list[Row]:
        """Return a row a condition."""
        full = self.conditions[0]
        rows = []
        for name in self.conditions:
            found, reason = self._compare(full, name)
            values = [self._value(name, kind, found.get(kind), reason) for kind in kinds]
            gains = [
                empty("This row is what the others are compared with.")
                if name == full
                else difference(found[kind].difference, self._places(full, name))
                if kind in found
                else empty(reason)
                for kind in kinds
            ]
            rows.append(
                Row(
                    cells=(words(name.replace("-", " ")), *values, *gains),
                    section=self.group.label if name == full else None,
                )
            )
        return rows

    def _compare(self, a: str, b: str) -> tuple[dict[str, MetricComparison], str]:
        """Return the comparison of two conditions by kind, or why there is none."""
        try:
            digest = self.scores[0].questions_sha256
            questions = self.study.results.questions(str(digest))
            first, second = ([run.read(Answers, f"answers/{one}.json") for run in self.runs] for one in (a, b))
            measuring = self.study.measuring
            return compare_answers_by_kind(questions, first, second, measuring.resamples, measuring.seed), ""
        except DataError as error:
            return {}, str(error)

    def _value(self, name: str, kind: str, found: MetricComparison | None, reason: str) -> Cell:
        """Return the accuracy under a condition: with its intervals where the answers are kept, else as the runs state it."""
        lacking = " ".join(self.group.lacking(_scores)) or None
        if found is not None:
            return measured(found.b, self._places(name), lacking)
        stated = [own.accuracy for one in self.scores if (own := _accuracy(one.conditions.get(name), kind)) is not None]
        sources = [run.place(FILE) for run in self.runs]
        return number(fmean(stated) if stated else None, sources, reason=reason or f"No question is of kind {kind}.")

    def _places(self, *names: str) -> list[str]:
        return [run.place(f"answers/{name}.json") for name in names for run in self.runs]


def _has_questions(run: Run) -> bool:
    try:
        return any(condition.questions is not None for condition in _scores(run).conditions.values())
    except DataError:
        return False


def _accuracy(condition: ModalityCondition | None, kind: str) -> Accuracy | None:
    if condition is None:
        return None
    return condition.questions if kind == ALL else condition.by_kind.get(kind)


def _caption(study: Study, asked: Sequence[_Asked]) -> tuple[str, ...]:
    if not asked:
        return ("Nothing has been asked.",)
    sentences: list[str] = []
    for one in (scores for own in asked for scores in own.scores):
        condition = next(iter(one.conditions.values()))
        kinds = {kind: own for kind in (ALL, *condition.by_kind) if (own := _accuracy(condition, kind)) is not None}
        counted = ", ".join(f"{kind} {own.n:,} (chance {own.chance:.3f})" for kind, own in kinds.items())
        sentences.append(f"{one.dataset} {one.split}: {one.clips:,} clips; questions: {counted}.")
    seeds = sorted({run.entry.seed for own in asked for run in own.runs})
    scoring = dict.fromkeys(scores.scoring for own in asked for scores in own.scores)
    return (
        *dict.fromkeys(sentences),
        f"Share of questions answered rightly, by what a question needs. An answer is {'; or '.join(scoring)}.",
        f"Seeds: {', '.join(map(str, seeds))}.",
        HOW.format(resamples=study.measuring.resamples),
        f"Δ is the row with everything bound rightly less this one. {PAIRED}",
    )
