"""Kept results: the small files of each run, copied whole or not at all to a folder for git, and the study card over them.

<results>/study_card.json             every run with its state; made again from the folders whenever one changes
<results>/runs/<run>/study_run.json   which run this is and the hash of every file; without it the folder counts for nothing
<results>/runs/<run>/…                 the files of the run directory, without weights
<results>/references/<sha256>.json    what predictions were scored against; events/ and questions/ likewise
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from fusion_core.files import sha256_file, write_atomic
from fusion_eval.errors import DataError
from fusion_eval.retention import condense
from fusion_eval.schemas.retention import Retention
from fusion_eval.schemas.study import Decision, Measure, StudyCard, StudyRun, StudyRunFile

from fusion_train.study.plan import Plan, PlannedRun
from fusion_train.study.workspace import Failure

CARD_FILE = "study_card.json"
RUN_FILE = "study_run.json"
RUN_CARD = "run_card.json"
RETENTION = "retention.json"
"""Kept without the questions whose answers stayed as right or wrong as they were: they are megabytes."""
PATTERNS = (
    RUN_CARD,
    "settings.json",
    "log.jsonl",
    "subsets.json",
    "sanity.json",
    "stability.jsonl",
    RETENTION,
    "rerank_weights.json",
    "modalities.json",
    "answers/*.json",
    "predictions/*.json",
    "scores/*.json",
)
"""What is kept of a run directory."""
OLD = ".old"
ABANDONED_SECONDS = 600  # keeping a run takes seconds


class KeptResults:
    """The kept results of a study.

    Args:
        root: their folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, name: str) -> Path:
        """Return the folder of a run."""
        return self.root / "runs" / name

    def find(self, run: PlannedRun) -> StudyRun | None:
        """Return what is kept of a run; None where there is nothing, or something of another identity."""
        path = self.folder(run.name) / RUN_FILE
        if not path.is_file():
            return None
        try:
            kept = StudyRunFile.read(path).run
        except DataError:
            return None  # written by another version: it counts for nothing and is replaced
        return kept if kept.identity == run.identity and kept.status == "done" else None

    def keep(self, run: PlannedRun, source: Path, measures: Mapping[str, Measure]) -> StudyRun:
        """Copy the small files of a finished run directory; what was kept before is replaced as a whole.

        Raises:
            OSError: the disk is full; what was kept before stays.
        """
        target = self.folder(run.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{run.name}."))
        try:
            files = _copy(source, fresh, run.leave_out)
            entry = describe(run).model_copy(
                update={
                    "status": "done",
                    "reason": None,
                    "run_card_sha256": files.get(RUN_CARD),
                    "measures": dict(measures),
                }
            )
            StudyRunFile(run=entry, files=files).write(fresh / RUN_FILE)
            fresh.chmod(0o755)
            _swap(fresh, target)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        return entry

    def give_back(self, name: str, folder: Path) -> None:
        """Copy what is kept of a run into its directory, where it is not there.

        A directory that was trained anew, because its weights were gone, lacks what had been measured on it.
        """
        kept = self.folder(name)
        for pattern in PATTERNS:
            for path in sorted(kept.glob(pattern)):
                place = folder / path.relative_to(kept)
                if not place.exists():
                    write_atomic(place, path.read_bytes())

    def mend(self) -> None:
        """Put right what a kill in the middle of keeping has left: a run that was being replaced comes back, halves go.

        What is younger than a few minutes may be the work of another process, and is left alone.
        """
        runs = self.root / "runs"
        for left in sorted(runs.glob(".*")) if runs.is_dir() else ():
            if time.time() - left.stat().st_mtime < ABANDONED_SECONDS:
                continue
            target = runs / left.name[1:].rsplit(".", 2 if left.suffix == OLD else 1)[0]
            if left.suffix == OLD and not target.exists():
                left.replace(target)
            else:
                shutil.rmtree(left, ignore_errors=True)

    def keep_references(self, kind: str, sha256: str, content: bytes) -> None:
        """Keep a references file (or, by its ``kind``, the clips' event graphs or questions) under its hash."""
        path = self.root / kind / f"{sha256}.json"
        if not path.is_file():
            write_atomic(path, content)

    def entries(self, plan: Plan, failures: Mapping[str, Failure]) -> list[StudyRun]:
        """Return every run of the plan with its state as the folders and the failures say."""
        return [self._entry(run, failures) for run in plan.runs.values()]

    def _entry(self, run: PlannedRun, failures: Mapping[str, Failure]) -> StudyRun:
        found = self.find(run)
        failure = failures.get(run.name)
        if found is None:
            if failure is None:
                return describe(run)
            return describe(run).model_copy(
                update={"status": failure.status, "reason": failure.reason, "log": failure.log}
            )
        measures = {name: self._measure(run, name, found, failures) for name in run.measures}
        described = describe(run).model_dump(include={"experiment", "phase", "variant", "parent"})
        return found.model_copy(update={**described, "measures": measures})

    def _measure(self, run: PlannedRun, name: str, found: StudyRun, failures: Mapping[str, Failure]) -> Measure:
        wanted, kept = run.measures[name], found.measures.get(name)
        if kept is not None and kept.identity == wanted:
            return kept
        failure = failures.get(f"{run.name}:{name}")
        if failure is None:
            return Measure(status="missing", reason="Not measured yet.", identity=wanted)
        return Measure(status=failure.status, reason=failure.reason, identity=wanted)

    def read_card(self) -> StudyCard | None:
        """Return the study card; None where there is none that can be read."""
        path = self.root / CARD_FILE
        try:
            return StudyCard.read(path) if path.is_file() else None
        except DataError:
            return None

    def write_card(
        self, plan: Plan, failures: Mapping[str, Failure], decisions: tuple[Decision, ...] = ()
    ) -> StudyCard:
        """Gather the folders into the study card and write it where it differs."""
        study = plan.study
        card = StudyCard(
            name=study.name,
            tier=study.tier,
            config_sha256=study.sha256(),
            seeds=study.seeds,
            criteria=study.criteria,
            runs=tuple(self.entries(plan, failures)),
            decisions=decisions,
        )
        path = self.root / CARD_FILE
        if not path.is_file() or path.read_bytes() != card.canonical_bytes():
            card.write(path)
        return card


def describe(run: PlannedRun) -> StudyRun:
    """Return the entry of a run that has no result yet."""
    return StudyRun(
        name=run.name,
        experiment=run.experiments,
        phase=run.phase,
        stage=run.stage,
        system=run.system,
        dataset=run.dataset,
        seed=run.seed,
        variant=run.variant,
        parent=run.parent,
        identity=run.identity,
        status="missing",
        reason="Not run yet.",
    )


def _copy(source: Path, target: Path, leave_out: Sequence[str]) -> dict[str, str]:
    """Copy the files that are kept; return their hashes by path."""
    hashes: dict[str, str] = {}
    for pattern in PATTERNS:
        for path in sorted(source.glob(pattern)):
            if any(path.relative_to(source).match(one) for one in leave_out):
                continue
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            if path.name == RETENTION:
                condense(Retention.read(path)).write(place)
            else:
                shutil.copyfile(path, place)
            hashes[str(path.relative_to(source))] = sha256_file(place)
    return hashes


def _swap(fresh: Path, target: Path) -> None:
    """Put a whole folder in the place of another; a kill in between leaves a whole one, there or to be mended."""
    old = fresh.with_name(f"{fresh.name}{OLD}")
    if target.exists():
        target.replace(old)
        old.touch()  # just put aside, however old it is
    fresh.replace(target)
    shutil.rmtree(old, ignore_errors=True)
