"""A study's results folder: its card, and of each run what it left, read when it is asked for.

    results/<study>/study_card.json
    results/<study>/{references,events,questions}/<sha256>.json
    results/<study>/runs/<run>/{run_card,settings,subsets,retention,rerank_weights,modalities}.json, log.jsonl, stability.jsonl,
                               predictions/<condition>.json, scores/<condition>.json,
                               answers/<condition>.json

What is absent or damaged raises a ``DataError`` whose sentence names the file by its place in the results folder, so that a table
can say why a cell is empty.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from fusion_eval.errors import ConfigError, DataError
from fusion_eval.schemas import Predictions, References, RunCard, SceneEvents, Schema, Scores
from fusion_eval.schemas.questions import Questions
from fusion_eval.schemas.retention import Retention
from fusion_eval.schemas.study import StudyCard, StudyRun

CARD_FILE = "study_card.json"
RESULTS = Path("results")
PREFERRED = "embedded"  # of several studies

AnySchema = TypeVar("AnySchema", bound=Schema)


@dataclass(frozen=True)
class Run:
    """One run of a study.

    Attributes:
        entry: what the study card says of it.
        folder: where its files lie.
        root: the results folder.
    """

    entry: StudyRun
    folder: Path
    root: Path
    _read: dict[str, Schema | DataError] = field(default_factory=dict, repr=False, compare=False)

    def place(self, name: str) -> str:
        """Return a file's place in the results folder, with slashes."""
        return (self.folder / name).relative_to(self.root).as_posix()

    def has(self, name: str) -> bool:
        """Say whether the run left a file."""
        return (self.folder / name).is_file()

    @property
    def card(self) -> RunCard:
        """The run card.

        Raises:
            DataError: it is absent or damaged, or the run was not done.
        """
        return self.read(RunCard, "run_card.json")

    def scores(self, condition: str = "audio") -> Scores:
        """Return the scores of one condition.

        Raises:
            DataError: they are absent or damaged, or the run was not done.
        """
        return self.read(Scores, f"scores/{condition}.json")

    def predictions(self, condition: str = "audio") -> Predictions:
        """Return the captions of one condition.

        Raises:
            DataError: they are absent or damaged, or the run was not done.
        """
        return self.read(Predictions, f"predictions/{condition}.json")

    def retention(self) -> Retention:
        """Return what was measured of the backbone's earlier skills.

        Raises:
            DataError: it was not measured; the sentence says why.
        """
        measure = self.entry.measures.get("retention")
        if measure is not None and measure.reason is not None:
            raise DataError(f"{self.entry.name}: retention is {measure.status}: {measure.reason}")
        return self.read(Retention, "retention.json")

    def read(self, model: type[AnySchema], name: str) -> AnySchema:
        """Read one file, once.

        Raises:
            DataError: it is absent or damaged, or the run was not done.
        """
        if name not in self._read:
            self._read[name] = self._open(model, name)
        found = self._read[name]
        if isinstance(found, DataError):
            raise found
        if not isinstance(found, model):
            raise TypeError(f"{name} was read as {type(found).__name__}")
        return found

    def _open(self, model: type[AnySchema], name: str) -> AnySchema | DataError:
        if not self.has(name):
            if self.entry.reason:  # the same of every file, so that a row of a table has one note
                return DataError(f"Run {self.entry.name} is {self.entry.status}: {self.entry.reason}")
            return DataError(f"{self.place(name)} is absent; the run left none")
        try:
            return model.read(self.folder / name)
        except DataError as error:
            return DataError(str(error).replace(str(self.folder / name), self.place(name)))

    def lines(self, name: str) -> list[dict[str, Any]]:
        """Return the objects of a JSON-lines file; a line that a kill cut off is left out, no file is no line."""
        if not self.has(name):
            return []
        found = []
        for line in (self.folder / name).read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                value = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(value, dict):
                found.append(value)
        return found

    def json(self, name: str) -> Mapping[str, Any]:
        """Return a JSON file without a schema, empty where it is absent or damaged."""
        try:
            value = json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return value if isinstance(value, dict) else {}


@dataclass(frozen=True)
class Results:
    """A study's results.

    Attributes:
        root: the folder.
        card: the study card, or what takes its place.
        loose: folders by run, where the runs belong to no study.
    """

    root: Path
    card: StudyCard
    loose: Mapping[str, Path] = field(default_factory=dict)

    @property
    def is_study(self) -> bool:
        """Whether a study was run; if not, runs merely lie together."""
        return not self.loose

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """The runs as the card lists them."""
        return tuple(
            Run(entry, self.loose.get(entry.name, self.root / "runs" / entry.name), self.root)
            for entry in self.card.runs
        )

    def references(self, digest: str) -> References:
        """Return the references that scores name by their hash.

        Raises:
            DataError: they are not kept.
        """
        return self._kept(References, "references", digest)

    def events(self, digest: str | None) -> SceneEvents:
        """Return the event graphs that scores name by their hash.

        Raises:
            DataError: they are not kept, or the clips have none.
        """
        if digest is None:
            raise DataError("The clips have no event graphs, so what sounds in them is not known.")
        return self._kept(SceneEvents, "events", digest)

    def questions(self, digest: str | None) -> Questions:
        """Return the questions that answers name by their hash.

        Raises:
            DataError: they are not kept, or none were asked.
        """
        if digest is None:
            raise DataError("No questions were asked about the clips.")
        return self._kept(Questions, "questions", digest)

    def _kept(self, model: type[AnySchema], kind: str, digest: str) -> AnySchema:
        place = f"{kind}/{digest}.json"
        if not (self.root / place).is_file():
            raise DataError(f"{place} is absent; the results do not keep the {kind}.")
        return model.read(self.root / place)

    def files(self) -> list[Path]:
        """Return every file of the study, in the order of their names."""
        return sorted(path for path in self.root.rglob("*") if path.is_file())


def read_results(folder: Path) -> Results:
    """Read a results folder; the files of its runs are read when they are asked for.

    Raises:
        DataError: it holds no study card, or a damaged one.
    """
    path = folder / CARD_FILE
    if not path.is_file():
        raise DataError(
            f"{folder} holds no {CARD_FILE}: give a folder that fusion study run has written, such as results/embedded."
        )
    return Results(folder, StudyCard.read(path))


def find_results(folder: Path | None, within: Path = RESULTS) -> Path:
    """Return the results folder that is meant: the given one, the only one, or the embedded tier's.

    Raises:
        ConfigError: there are several and none is preferred.
        DataError: there is none.
    """
    if folder is not None:
        return folder
    found = sorted(path.parent for path in within.glob(f"*/{CARD_FILE}"))
    if not found:
        raise DataError(
            f"There are no results here ({within}/*/{CARD_FILE}); run fusion study run STUDY.yaml first, or name a folder."
        )
    if len(found) == 1:
        return found[0]
    preferred = within / PREFERRED
    if preferred in found:
        return preferred
    names = ", ".join(path.name for path in found)
    raise ConfigError(f"There are several results here ({names}); name one, such as {found[0]}.")
