"""Results wherever they lie: those of a study, or of run directories of ``fusion train`` that belong to none.

Of the latter their settings and cards say what a study card would; runs that nothing else tells apart get their own names as
variants.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fusion_eval.errors import DataError
from fusion_eval.schemas import RunCard
from fusion_eval.schemas.study import StudyCard, StudyRun

from fusion_report.results import CARD_FILE, Results, read_results

_RUN_FILES = ("run_card.json", "settings.json", "predictions")
_FURTHER = "scst"  # the directory of self-critical training, inside that of the run it started from


def read_folder(folder: Path) -> Results:
    """Read a study, a run directory or a folder of run directories.

    Raises:
        DataError: there is nothing of the kind in the folder, or the study card cannot be read.
    """
    if (folder / CARD_FILE).is_file():
        return read_results(folder)
    places = list(_run_folders(folder))
    if not places:
        raise DataError(
            f"{folder}: neither a study card nor a run here; give a results folder or a run of fusion train."
        )
    entries = _told_apart([_describe(place) for place in places])
    name = entries[0].name if len(entries) == 1 else folder.resolve().name
    card = StudyCard.model_construct(
        name=name, tier="tiny", config_sha256="", seeds=(), criteria={}, runs=tuple(entries), decisions=()
    )
    return Results(folder, card, {entry.name: place for entry, place in zip(entries, places, strict=True)})


def _run_folders(folder: Path) -> Iterator[Path]:
    """Yield the run directories at a place, each followed by that of its self-critical training."""
    found = [folder] if _is_run(folder) else sorted(place for place in _children(folder) if _is_run(place))
    for place in found:
        yield place
        if _is_run(place / _FURTHER):
            yield place / _FURTHER


def _children(folder: Path) -> list[Path]:
    return [place for place in folder.iterdir() if place.is_dir()] if folder.is_dir() else []


def _is_run(folder: Path) -> bool:
    return any((folder / name).exists() for name in _RUN_FILES)


def _describe(folder: Path) -> StudyRun:
    """Return what a study would say of a run that belongs to none."""
    settings = _settings(folder) or _settings(folder.parent)
    training = settings.get("settings")
    training = training if isinstance(training, dict) else {}
    seed = training.get("seed", 0)
    place = folder.resolve()
    further = place.name == _FURTHER
    said: dict[str, Any] = {
        "system": str(settings.get("system", "unknown system")),
        "dataset": str(settings.get("dataset", "unknown dataset")),
        "seed": seed if isinstance(seed, int) else 0,
    }
    return StudyRun.model_construct(
        status="done",
        reason=None,
        name=f"{place.parent.name}+scst" if further else place.name,
        experiment=(),
        phase=0,
        stage="scst" if further else "video" if training.get("modalities") else "xe",
        variant="",
        parent=None,
        identity="",
        run_card_sha256=None,
        log=None,
        measures={},
        **said | _said_by_card(folder),
    )


def _settings(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _said_by_card(folder: Path) -> dict[str, Any]:
    """Return what the run card says, which knows it best; nothing where it is absent or damaged."""
    try:
        card = RunCard.read(folder / "run_card.json")
    except DataError:
        return {}
    return {"system": card.system.name, "dataset": card.dataset.name, "seed": card.seed}


def _told_apart(entries: Sequence[StudyRun]) -> list[StudyRun]:
    """Give runs of one system, stage and seed their own names as variants: nothing else says how they differ."""

    def key(entry: StudyRun) -> tuple[str, str, str, int]:
        return entry.dataset, entry.system, entry.stage, entry.seed

    seen = Counter(map(key, entries))
    return [entry.model_copy(update={"variant": entry.name}) if seen[key(entry)] > 1 else entry for entry in entries]
