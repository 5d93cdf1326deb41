"""Where a study works: run directories with their weights, logs and failures. It may be deleted; what is kept lies elsewhere.

<work>/<run>-<first 8 digits of its identity>/   the run directory, as fusion train writes it
<work>/logs/<run>.log                            what was said while it ran, with the traceback of a failure
<work>/failures/<run>.json                       why it, or a measure of it, has no result
<work>/running/<run>                             which process is at it
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import psutil
from filelock import FileLock, Timeout
from fusion_core.errors import ConfigError
from fusion_core.files import write_atomic
from fusion_eval.schemas.base import Record
from pydantic import ValidationError

from fusion_train.study.plan import Plan, PlannedRun

STUDY = ".study"
"""The name under which the process that runs the study is at work."""

SCST_FOLDER = "scst"
RUN_CARD = "run_card.json"
BEST_FILE = "best.safetensors"


class Failure(Record):
    """Why a run or a measure has no result, and where its log lies.

    ``missing`` is what cannot be had here, ``failed`` what was tried.
    """

    status: Literal["failed", "missing"] = "failed"
    reason: str
    log: str | None = None


class Workspace:
    """The working folder of a study.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, plan: Plan, run: PlannedRun) -> Path:
        """Return the run directory; self-critical training lies inside the run that it goes on from."""
        if run.stage == "scst":
            return self.folder(plan, plan.runs[str(run.parent)]) / SCST_FOLDER
        return self.root / f"{run.name}-{run.identity[:8]}"

    def has_weights(self, plan: Plan, run: PlannedRun) -> bool:
        """Say whether a run's directory is finished and holds its weights."""
        folder = self.folder(plan, run)
        return (folder / RUN_CARD).is_file() and (folder / BEST_FILE).is_file()

    def log(self, run: PlannedRun) -> Path:
        """Return the log of a run."""
        return self.root / "logs" / f"{run.name}.log"

    def lock(self) -> FileLock:
        """Take the study for this process.

        Raises:
            ConfigError: another process works on it.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.root / "study.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise ConfigError(
                f"{self.root}: another process runs this study; wait for it, or give another --work."
            ) from None
        return lock

    @contextlib.contextmanager
    def at_work(self, name: str) -> Iterator[None]:
        """Say, for as long as it lasts, that this process is at a run."""
        marker = self.root / "running" / name
        write_atomic(marker, f"{platform.node()} {os.getpid()}".encode())
        try:
            yield
        finally:
            marker.unlink(missing_ok=True)

    def is_at_work(self, name: str) -> bool:
        """Say whether a process is at a run; one of another machine is believed."""
        try:
            node, pid = (self.root / "running" / name).read_text(encoding="utf-8").split()
        except (OSError, ValueError):
            return False
        return node != platform.node() or psutil.pid_exists(int(pid))

    def fail(self, key: str, failure: Failure) -> None:
        """Write down why ``run`` or ``run:measure`` has no result."""
        write_atomic(self._failure(key), failure.model_dump_json().encode())

    def clear(self, key: str) -> None:
        """Forget a failure: it is tried again, or done."""
        self._failure(key).unlink(missing_ok=True)

    def failures(self) -> dict[str, Failure]:
        """Return the failures by ``run`` or ``run:measure``."""
        found = {}
        for path in (self.root / "failures").glob("*.json"):
            try:
                found[path.stem] = Failure.model_validate_json(path.read_bytes())
            except ValidationError:
                continue
        return found

    def _failure(self, key: str) -> Path:
        return self.root / "failures" / f"{key}.json"
