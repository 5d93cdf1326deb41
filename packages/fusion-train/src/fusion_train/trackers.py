"""Trackers beside the JSON-lines log: TensorBoard, Weights & Biases and trackio, through accelerate's trackers.

The log of a run stays the record; a tracker is a view of it. A run that is taken up again repeats the steps since its last
checkpoint: what a tracker has been given once is not given to it again. How far each curve of each tracker has come is kept in
``trackers/marks.json`` of the run directory, and set before a value is handed over, so that a kill between the two leaves a gap
of one point in a view and never a step twice.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fusion_core.errors import ConfigError, MissingAssetError
from fusion_core.files import write_atomic
from fusion_core.journal import Journal

from fusion_train.live_curves import LiveCurves

PROJECT = "fusion"
FOLDER = "trackers"
MARKS_FILE = "marks.json"
# The packages that provide each tracker, any of them.
PACKAGES = {"tensorboard": ("tensorboard", "tensorboardX"), "wandb": ("wandb",), "trackio": ("trackio",)}


class Trackers:
    """Gives the values of a run to the trackers that were asked for; none for no names. Make the run's ``Accelerator`` first.

    Args:
        names: ``tensorboard``, ``wandb`` or ``trackio``.
        folder: the run directory.
        run_id: the name of the run; a run that is taken up again goes on under it.
        settings: what the run was asked to do, nested as it is.
        main: whether this process speaks for the run; the others of a distributed run track nothing.

    Raises:
        ConfigError: there is no such tracker, or it does not start.
        MissingAssetError: its package is not installed.
    """

    def __init__(
        self, names: Iterable[str], folder: Path, run_id: str, settings: Mapping[str, Any], main: bool = True
    ) -> None:
        wanted = list(dict.fromkeys(names))
        for name in wanted:
            require_tracker(name)
        self._path = folder / FOLDER / MARKS_FILE
        self._marks: dict[str, dict[str, int]] = self._read_marks()
        self._trackers = {name: _make(name, folder, run_id) for name in wanted} if main else {}
        for name, tracker in self._trackers.items():
            _start(name, tracker)
            if name not in self._marks:
                self._marks[name] = {}
                tracker.store_init_configuration({key: _plain(value) for key, value in flatten(settings)})

    def log(self, values: Mapping[str, Any], step: int) -> None:
        """Give the numbers among ``values`` to each tracker, nested ones as ``outer/inner``; what it has already is left out."""
        numbers = {key: float(value) for key, value in flatten(values) if _is_number(value)}
        fresh = {}
        for name in self._trackers:
            marks = self._marks[name]
            fresh[name] = {key: value for key, value in numbers.items() if step > marks.get(key, -1)}
            marks.update(dict.fromkeys(fresh[name], step))
        if any(fresh.values()):
            write_atomic(self._path, json.dumps(self._marks, sort_keys=True).encode())
        for name, tracker in self._trackers.items():
            if fresh[name]:
                tracker.log(fresh[name], step=step)

    def finish(self) -> None:
        """Let the trackers write what they hold and close them; call it also where training stops by an error."""
        for tracker in self._trackers.values():
            with contextlib.redirect_stdout(sys.stderr):
                tracker.finish()
        self._trackers = {}

    def _read_marks(self) -> dict[str, dict[str, int]]:
        if not self._path.is_file():
            return {}
        marks: dict[str, dict[str, int]] = json.loads(self._path.read_text(encoding="utf-8"))
        return marks


class ViewedJournal(Journal):
    """The log of a training, whose events also reach the curves in the terminal and the trackers.

    Args:
        path: the JSON-lines file; what it holds already is shown again in the curves.
        curves: what the terminal shows.
        trackers: where values of steps and evaluations go.
    """

    def __init__(self, path: Path, curves: LiveCurves, trackers: Trackers) -> None:
        super().__init__(path)
        self.curves = curves
        self.trackers = trackers
        for event in self.read():
            curves.add(event["event"], event)

    def write(self, event: str, **fields: Any) -> None:
        """Append one event; what it says of a step goes to the views."""
        super().write(event, **fields)
        self.curves.add(event, fields)
        if event in ("step", "evaluated"):
            self.trackers.log({key: value for key, value in fields.items() if key != "step"}, int(fields["step"]))

    def close(self) -> None:
        """Finish the trackers; the log itself needs no closing."""
        self.trackers.finish()


def _start(name: str, tracker: Any) -> None:
    """Start a tracker; what it says goes to the error stream, as results alone go to the output stream."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            tracker.start()
    except Exception as error:
        hint = "; WANDB_MODE=offline keeps it on this machine" if name == "wandb" else ""
        raise ConfigError(f"The tracker {name!r} did not start ({str(error).splitlines()[0]}){hint}.") from error


def require_tracker(name: str) -> None:
    """Check that a tracker can be used, before anything long begins.

    Raises:
        ConfigError: there is no such tracker.
        MissingAssetError: its package is not installed.
    """
    if name not in PACKAGES:
        nearest = difflib.get_close_matches(name, PACKAGES, n=1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"choose {', '.join(PACKAGES)}."
        raise ConfigError(f"There is no tracker {name!r}; {hint}")
    if not any(importlib.util.find_spec(package) for package in PACKAGES[name]):
        raise MissingAssetError(f"The tracker {name!r} is not installed; pip install 'fusion-train[{name}]'.")


def flatten(values: Mapping[str, Any], outer: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested mappings, keys joined by ``/``."""
    for key, value in values.items():
        path = f"{outer}/{key}" if outer else str(key)
        if isinstance(value, Mapping):
            yield from flatten(value, path)
        else:
            yield path, value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plain(value: Any) -> Any:
    """Return a setting in a type that every tracker takes."""
    return value if isinstance(value, bool | int | float | str) else json.dumps(value, default=str)


def _make(name: str, folder: Path, run_id: str) -> Any:
    from accelerate.tracking import TensorBoardTracker, TrackioTracker, WandBTracker

    place = folder / FOLDER
    place.mkdir(parents=True, exist_ok=True)
    if name == "tensorboard":
        return TensorBoardTracker(name, logging_dir=str(place))
    if name == "wandb":
        return WandBTracker(PROJECT, id=run_id, name=run_id, dir=str(place), resume="allow")
    return TrackioTracker(PROJECT, name=run_id, resume="allow")
