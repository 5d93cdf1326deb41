"""What a folder of results holds: the runs of a study, with what each said and scored, and why something is absent.

A folder is a study (``study_card.json`` beside ``runs/``), one run directory of ``fusion train``, or a folder of run directories.
A file that is absent or cannot be read is no error: the run keeps a sentence that says so, for the place where its
numbers would be.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from fusion_eval.errors import DataError
from fusion_eval.schemas import Predictions, RunCard, Schema, Scores
from fusion_eval.schemas.retention import Retention
from fusion_eval.schemas.study import StudyCard, StudyRun

from fusion_report.controls import CONDITIONS

STUDY_FILE = "study_card.json"
AUDIO, RERANKED, ORACLE = "audio", "reranked", "oracle"
TOGETHER = "+"  # between the modalities of a condition, as in audio+video
STAGES_WITHOUT_CAPTIONS = ("sanity",)
CONDITION_LABELS = CONDITIONS | {RERANKED: "right audio, reranked", ORACLE: "oracle over candidates"}
_RUN_FILES = ("run_card.json", "settings.json", "predictions")
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
class Results:
    """A folder of results.

    Attributes:
        name: of the study, or of the folder.
        root: the folder.
        study: the study card, where there is one.
        runs: in the order of the card, or by name.
    """

    name: str
    root: Path
    study: StudyCard | None
    runs: tuple[PageRun, ...]


def condition_label(condition: str) -> str:
    """Return the words for a condition: its own where it is a new one."""
    words = condition.replace(TOGETHER, " and ").replace("_", " ").replace("-", " ")
    return CONDITION_LABELS.get(condition, words)


def read_results(folder: Path) -> Results:
    """Read a study, a run directory or a folder of run directories.

    Raises:
        DataError: there is nothing of the kind in the folder, or the study card cannot be read.
    """
    if (folder / STUDY_FILE).is_file():
        study = StudyCard.read(folder / STUDY_FILE)
        return Results(
            study.name, folder, study, tuple(_read_run(run, folder / "runs" / run.name) for run in study.runs)
        )
    runs = [_read_run(_planned(place, folder), place) for place in _run_folders(folder)]
    if not runs:
        raise DataError(
            f"{folder}: neither a study card nor a run here; give a results folder or a run of fusion train."
        )
    name = runs[0].plan.name if len(runs) == 1 else folder.resolve().name
    return Results(name, folder, None, tuple(_told_apart(runs)))


def _run_folders(folder: Path) -> Iterator[Path]:
    """Yield the run directories at a place, each followed by that of its self-critical training."""
    found = [folder] if _is_run(folder) else sorted(place for place in _children(folder) if _is_run(place))
    for place in found:
        yield place
        if _is_run(place / "scst"):
            yield place / "scst"


def _children(folder: Path) -> list[Path]:
    return [place for place in folder.iterdir() if place.is_dir()] if folder.is_dir() else []


def _is_run(folder: Path) -> bool:
    return any((folder / name).exists() for name in _RUN_FILES)


def _planned(folder: Path, above: Path) -> StudyRun:
    """Return what a study would say of a run that belongs to none."""
    settings = _settings(folder) or _settings(folder.parent)
    whole = _settings_of_training(settings)
    place = folder.resolve()
    seed = whole.get("seed", 0)
    scst = place.name == "scst"
    return StudyRun.model_construct(
        status="done",
        reason=None,
        name=f"{place.parent.name}+scst" if scst else place.name,
        experiment=(),
        phase=0,
        stage="scst" if scst else "xe",
        system=str(settings.get("system", "unknown system")),
        dataset=str(settings.get("dataset", "unknown dataset")),
        seed=seed if isinstance(seed, int) else 0,
        variant="",
        parent=None,
        identity="",
        run_card_sha256=None,
        log=None,
        measures={},
    )


def _settings(folder: Path) -> dict[str, object]:
    try:
        found = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _settings_of_training(settings: dict[str, object]) -> dict[str, object]:
    found = settings.get("settings")
    return found if isinstance(found, dict) else {}


def _told_apart(runs: Sequence[PageRun]) -> list[PageRun]:
    """Give runs of one system, stage and seed their own names as variants: nothing else says how they differ."""

    def key(run: PageRun) -> tuple[str, str, str, int]:
        return run.plan.dataset, run.plan.system, run.plan.stage, run.plan.seed

    seen = Counter(map(key, runs))
    return [
        replace(run, plan=run.plan.model_copy(update={"variant": run.plan.name})) if seen[key(run)] > 1 else run
        for run in runs
    ]


def _read_run(plan: StudyRun, folder: Path) -> PageRun:
    problems: list[str] = []
    if not folder.is_dir():
        return PageRun(plan, folder, problems=(f"the folder of run {plan.name} is absent",))
    if plan.stage in STAGES_WITHOUT_CAPTIONS:
        return PageRun(plan, folder)
    card = _read(RunCard, folder / "run_card.json", problems)
    if card is not None and not plan.identity:  # of no study: the card says it best
        plan = plan.model_copy(update={"system": card.system.name, "seed": card.seed, "dataset": card.dataset.name})
    names = sorted({path.stem for part in ("predictions", "scores") for path in (folder / part).glob("*.json")})
    order = [*CONDITION_LABELS, *names]
    outputs = {name: _read_output(folder, name, problems) for name in sorted(names, key=order.index)}
    found = {name: output for name, output in outputs.items() if output.predictions or output.scores}
    if not names:
        problems.append(f"run {plan.name} has no predictions and no scores")
    kept = folder / "retention.json"
    retention = _read(Retention, kept, problems) if kept.is_file() else None
    return PageRun(plan, folder, card, found, _subsets(folder, problems), retention, tuple(problems))


def _read_output(folder: Path, condition: str, problems: list[str]) -> Output:
    predictions = None
    if condition != ORACLE:
        predictions = _read(Predictions, folder / "predictions" / f"{condition}.json", problems)
    before = len(problems)
    scores = _read(Scores, folder / "scores" / f"{condition}.json", problems)
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


def _read(kind: type[_File], path: Path, problems: list[str]) -> _File | None:
    """Return a file, or None with a sentence in ``problems`` that names it without the folders above the run."""
    shown = "/".join(path.parts[-3:] if path.parent.name in ("predictions", "scores") else path.parts[-2:])
    if not path.is_file():
        problems.append(f"{shown} is absent")
        return None
    try:
        return kind.read(path)
    except DataError as error:
        problems.append(str(error).replace(str(path), shown).rstrip("."))
        return None
