"""What each run of a folder of results said and scored, and why something is absent.

A file that is absent or cannot be read is no error: the run keeps a sentence that says so, for the place where its
numbers would be.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from fusion_eval.errors import DataError
from fusion_eval.schemas import Predictions, RunCard, Schema, Scores
from fusion_eval.schemas.retention import Retention
from fusion_eval.schemas.study import StudyCard, StudyRun

from fusion_report.controls import CONDITIONS
from fusion_report.results import Results, Run
from fusion_report.run_folders import read_folder

AUDIO, RERANKED, ORACLE = "audio", "reranked", "oracle"
TOGETHER = "+"  # between the modalities of a condition, as in audio+video
STAGES_WITHOUT_CAPTIONS = ("sanity",)
CONDITION_LABELS = CONDITIONS | {RERANKED: "right audio, reranked", ORACLE: "oracle over candidates"}
_File = TypeVar("_File", bound=Schema)


@dataclass(frozen=True)
class Output:
    """What one run said of one split under one condition, and how that scored.

    Attributes:
        condition: the name of the file, such as ``audio``, ``shuffled`` or ``reranked``.
        predictions: the captions; absent for an oracle, which says nothing.
        scores: their scores.
        reason: why the scores are absent; empty where they are there.
    """

    condition: str
    predictions: Predictions | None
    scores: Scores | None
    reason: str = ""

    @property
    def label(self) -> str:
        """The condition in words."""
        return condition_label(self.condition)

    @property
    def split(self) -> str:
        """The split that was captioned."""
        source = self.predictions or self.scores
        return source.split if source is not None else ""


@dataclass(frozen=True)
class PageRun:
    """One run.

    Attributes:
        plan: what the study says of it, or what its files say where there is no study.
        folder: where its files lie.
        card: its run card.
        outputs: by condition.
        subsets: clips by kind, such as seen and held_out.
        retention: what it still answers, where that was asked.
        problems: a sentence for every file that is absent or cannot be read.
    """

    plan: StudyRun
    folder: Path
    card: RunCard | None = None
    outputs: dict[str, Output] = field(default_factory=dict)
    subsets: dict[str, list[str]] = field(default_factory=dict)
    retention: Retention | None = None
    problems: tuple[str, ...] = ()

    @property
    def whole(self) -> str:
        """The condition under which the run is given all that it can perceive: audio, or its modalities together."""
        together = [name for name in self.outputs if TOGETHER in name]
        return max(together, key=len) if together else AUDIO

    @property
    def reason(self) -> str:
        """Why there is nothing of this run; empty where there is something."""
        return "; ".join([self.plan.reason] if self.plan.reason else [] if self.outputs else self.problems)


@dataclass(frozen=True)
class PageResults:
    """A folder of results with what each run said.

    Attributes:
        results: the folder.
        runs: in the order of the card, or by name.
    """

    results: Results
    runs: tuple[PageRun, ...]

    @property
    def name(self) -> str:
        """The name of the study, or of the folder."""
        return self.results.card.name

    @property
    def root(self) -> Path:
        """The folder."""
        return self.results.root

    @property
    def study(self) -> StudyCard | None:
        """The study card, where there is one."""
        return self.results.card if self.results.is_study else None


def condition_label(condition: str) -> str:
    """Return the words for a condition: its own where it is a new one."""
    words = condition.replace(TOGETHER, " and ").replace("_", " ").replace("-", " ")
    return CONDITION_LABELS.get(condition, words)


def read_outputs(folder: Path) -> PageResults:
    """Read a study, a run directory or a folder of run directories.

    Raises:
        DataError: there is nothing of the kind in the folder, or the study card cannot be read.
    """
    results = read_folder(folder)
    return PageResults(results, tuple(map(_read_run, results.runs)))


def _read_run(run: Run) -> PageRun:
    problems: list[str] = []
    if not run.folder.is_dir():
        return PageRun(run.entry, run.folder, problems=(f"the folder of run {run.entry.name} is absent",))
    if run.entry.stage in STAGES_WITHOUT_CAPTIONS:
        return PageRun(run.entry, run.folder)
    card = _read(run, RunCard, "run_card.json", problems)
    names = sorted({path.stem for part in ("predictions", "scores") for path in (run.folder / part).glob("*.json")})
    order = [*CONDITION_LABELS, *names]
    outputs = {name: _read_output(run, name, problems) for name in sorted(names, key=order.index)}
    found = {name: output for name, output in outputs.items() if output.predictions or output.scores}
    if not names:
        problems.append(f"run {run.entry.name} has no predictions and no scores")
    retention = _read(run, Retention, "retention.json", problems) if run.has("retention.json") else None
    return PageRun(run.entry, run.folder, card, found, _subsets(run.folder, problems), retention, tuple(problems))


def _read_output(run: Run, condition: str, problems: list[str]) -> Output:
    predictions = None
    if condition != ORACLE:
        predictions = _read(run, Predictions, f"predictions/{condition}.json", problems)
    before = len(problems)
    scores = _read(run, Scores, f"scores/{condition}.json", problems)
    return Output(condition, predictions, scores, "; ".join(problems[before:]))


def _subsets(folder: Path, problems: list[str]) -> dict[str, list[str]]:
    path = folder / "subsets.json"
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): [str(clip) for clip in clips] for name, clips in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        problems.append(f"{folder.name}/subsets.json is no JSON object of lists")
        return {}


def _read(run: Run, kind: type[_File], name: str, problems: list[str]) -> _File | None:
    """Return a file, or None with a sentence in ``problems``."""
    try:
        return run.read(kind, name)
    except DataError as error:
        problems.append(str(error).rstrip("."))
        return None
