"""What a prepared dataset folder knows of its clips: where the media lie, the references, the event graphs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fusion_eval.errors import DataError
from fusion_eval.schemas import ManifestRow, References, SceneEvents, SceneItem, read_manifest


@dataclass(frozen=True)
class PreparedData:
    """A folder that ``fusion data prepare`` made.

    Attributes:
        name: of the dataset.
        root: the folder.
        rows: the manifest by clip.
    """

    name: str
    root: Path
    rows: dict[str, ManifestRow]

    def references(self, split: str) -> References | None:
        """Return the references of a split; None where it has none.

        Raises:
            DataError: the file does not follow its schema.
        """
        path = self.root / "references" / f"{split}.json"
        return References.read(path) if path.is_file() else None

    def events(self, split: str) -> dict[str, SceneItem]:
        """Return the event graphs of a split by clip; none where they are not known.

        Raises:
            DataError: the file does not follow its schema.
        """
        path = self.root / "events" / f"{split}.json"
        return {item.id: item for item in SceneEvents.read(path).items} if path.is_file() else {}


def open_dataset(root: Path) -> PreparedData:
    """Open a prepared folder.

    Raises:
        DataError: it is none.
    """
    path = root / "dataset.json"
    try:
        name = json.loads(path.read_text(encoding="utf-8"))["name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{root}: no prepared dataset here (dataset.json); give a folder of fusion data prepare."
        ) from error
    return PreparedData(str(name), root, {row.id: row for row in read_manifest(root / "manifest.parquet")})


@dataclass(frozen=True)
class SplitData:
    """What is known of the clips of one split; ``reason`` says what is not known and why."""

    data: PreparedData | None
    references: dict[str, tuple[str, ...]]
    events: dict[str, SceneItem]
    reason: str = ""


def find_split(datasets: Sequence[PreparedData], name: str, split: str, references_sha256: str | None) -> SplitData:
    """Return the split that was captioned: that of the dataset of this name whose references have this hash."""
    named = [data for data in datasets if data.name == name]
    for data in named:
        try:
            references, events = data.references(split), data.events(split)
        except DataError as error:
            return SplitData(data, {}, {}, f"{error}".replace(f"{data.root}", data.name))
        if references is None:
            continue
        if references_sha256 in (None, references.sha256()):
            found = {item.id: item.references for item in references.items}
            return SplitData(data, found, events)
    if named:
        return SplitData(
            None, {}, {}, f"The dataset {name} at hand has other references for {split} than those that were scored."
        )
    return SplitData(None, {}, {}, f"No dataset {name} was given to the page (--audio DATASET_ROOT).")


def with_kept(known: SplitData, results: Path, references_sha256: str | None, events_sha256: str | None) -> SplitData:
    """Return a split with what a study keeps by hash beside its runs, where no dataset gave its references.

    Raises:
        DataError: a kept file does not follow its schema.
    """
    references = results / "references" / f"{references_sha256}.json"
    if known.references or not references.is_file():
        return known
    found = {item.id: item.references for item in References.read(references).items}
    events = results / "events" / f"{events_sha256}.json"
    graphs = {item.id: item for item in SceneEvents.read(events).items} if events.is_file() else {}
    return replace(known, references=found, events=graphs)
