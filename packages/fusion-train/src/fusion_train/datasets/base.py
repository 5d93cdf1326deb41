"""A prepared dataset: a folder with a manifest, references, event graphs where they are known, and audio.

<root>/dataset.json             name, options, hashes, statistics; written last, so that it seals the folder
<root>/manifest.parquet         one row a clip
<root>/references/<split>.json  captions by clip
<root>/events/<split>.json      event graphs (composed scenes alone)
<root>/audio/…                  audio files, or a link to the folder that holds them
<root>/images/…, probe.jsonl    instead, in a dataset of questions about images
<root>/video/…                  instead, in a dataset of videos, or a link to the folder that holds them
<root>/questions/<split>.json   questions about its clips
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

from fusion_core.errors import DataError
from fusion_eval.schemas import ManifestRow, References, SceneEvents, Schema, read_manifest, write_manifest
from fusion_eval.schemas.base import Sha256
from fusion_eval.schemas.questions import Questions
from pydantic import BaseModel, Field

CARD = "dataset.json"
MANIFEST = "manifest.parquet"
AUDIO = "audio"
IMAGES = "images"
VIDEO = "video"
Options = TypeVar("Options", bound=BaseModel)


class DatasetCard(Schema):
    """What a dataset was made of.

    ``options_sha256`` covers what its content depends on, ``manifest_sha256`` the rows of its manifest.
    """

    schema_: Literal["fusion.dataset/1"] = Field(default="fusion.dataset/1", alias="schema")
    name: str = Field(min_length=1)
    options: dict[str, Any]
    options_sha256: Sha256
    manifest_sha256: Sha256
    statistics: dict[str, Any] = Field(default_factory=dict)

    @property
    def recipe_sha256(self) -> str | None:
        """The hash of options and version where a recipe makes the clips; None where they come from files."""
        return self.options_sha256 if "version" in self.options else None


@dataclass(frozen=True)
class PreparedDataset:
    """A prepared dataset on disk; the files are read when they are first asked for.

    Everything raises ``DataError`` where a file is absent or malformed.
    """

    name: str
    root: Path

    @cached_property
    def card(self) -> DatasetCard:
        """The content of ``dataset.json``."""
        return DatasetCard.read(self.root / CARD)

    @cached_property
    def manifest(self) -> list[ManifestRow]:
        """Every row, also of clips that cannot be used."""
        return read_manifest(self.root / MANIFEST)

    @property
    def splits(self) -> list[str]:
        """The names of the splits, in the order of the manifest."""
        return list(dict.fromkeys(row.split for row in self.manifest))

    def rows(self, split: str) -> list[ManifestRow]:
        """Return the rows of a split, also those that cannot be used.

        Raises:
            DataError: the dataset has no such split.
        """
        rows = [row for row in self.manifest if row.split == split]
        if not rows:
            raise DataError(f"{self.root / MANIFEST} has no split '{split}'; it has {', '.join(self.splits)}.")
        return rows

    def references(self, split: str) -> References:
        """Return the captions of a split.

        Raises:
            DataError: the split has no captions.
        """
        return References.read(self.root / "references" / f"{split}.json")

    def has_references(self, split: str) -> bool:
        """Say whether the split has captions."""
        return (self.root / "references" / f"{split}.json").is_file()

    def events(self, split: str) -> SceneEvents | None:
        """Return the event graphs of a split, or None where they are unknown (recordings that nobody composed)."""
        path = self.root / "events" / f"{split}.json"
        return SceneEvents.read(path) if path.exists() else None

    def questions(self, split: str) -> Questions | None:
        """Return the questions about the clips of a split, or None where there are none."""
        path = self.root / "questions" / f"{split}.json"
        return Questions.read(path) if path.exists() else None

    @property
    def _folders(self) -> tuple[Path, ...]:
        """Where files may lie: the root, and what its folders of media link to."""
        return self.root, self.root / AUDIO, self.root / IMAGES, self.root / VIDEO

    def audio_path(self, row: ManifestRow) -> Path:
        """Return where the audio of a row lies; the image or video, in a dataset of those.

        Raises:
            DataError: the path, or a link on the way, leaves the dataset's root and its folders of media.
        """
        path = (self.root / row.path).resolve()
        if not any(path.is_relative_to(folder.resolve()) for folder in self._folders):
            raise DataError(
                f"{self.root / MANIFEST}, clip '{row.id}': '{row.path}' leaves the dataset's root; move it in."
            )
        return path


class DatasetRecipe(Protocol[Options]):
    """How a dataset is made; registered by name in ``registry.py`` or under the entry points ``fusion.datasets``."""

    name: str
    options_type: type[Options]

    def identity(self, options: Options) -> dict[str, Any]:
        """Return what the content depends on, as JSON: two option sets with one identity give the same bytes."""
        ...

    def prepare(self, root: Path, options: Options) -> PreparedDataset:
        """Make the dataset in ``root``, or go on where an earlier preparation stopped."""
        ...


@dataclass(frozen=True)
class DatasetContent(Generic[Options]):
    """What ``write_dataset`` puts beside the audio."""

    recipe: DatasetRecipe[Options]
    options: Options
    rows: Sequence[ManifestRow]
    references: Sequence[References] = ()
    events: Sequence[SceneEvents] = ()
    statistics: dict[str, Any] | None = None
    questions: Sequence[Questions] = ()


def write_dataset(root: Path, content: DatasetContent[Any]) -> PreparedDataset:
    """Write references, event graphs, the manifest and, last, the card that says that the folder is complete."""
    (root / CARD).unlink(missing_ok=True)
    written: dict[str, Sequence[References | SceneEvents | Questions]] = {
        "references": content.references,
        "events": content.events,
        "questions": content.questions,
    }
    for kind, files in written.items():
        for stale in (root / kind).glob("*.json"):
            stale.unlink()
        for file in files:
            file.write(root / kind / f"{file.split}.json")
    write_manifest(root / MANIFEST, content.rows)
    identity = content.recipe.identity(content.options)
    DatasetCard(
        name=content.recipe.name,
        options=content.options.model_dump(mode="json") | identity,
        options_sha256=json_sha256(identity),
        manifest_sha256=rows_sha256(content.rows),
        statistics=content.statistics or {},
    ).write(root / CARD)
    return PreparedDataset(content.recipe.name, root)


def open_dataset(root: Path) -> PreparedDataset:
    """Open a prepared dataset.

    Raises:
        DataError: the folder does not exist or holds no finished dataset.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root} does not exist; give the folder of a prepared dataset (fusion data prepare).")
    if not (root / CARD).is_file():
        raise DataError(f"{root} has no {CARD}; prepare the dataset to its end first (fusion data prepare).")
    return PreparedDataset(DatasetCard.read(root / CARD).name, root)


def json_sha256(value: Any) -> str:
    """Return the SHA-256 of a JSON value written with sorted keys."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def rows_sha256(rows: Iterable[ManifestRow]) -> str:
    """Return the SHA-256 of the content of a manifest, whatever writer packed it."""
    return json_sha256([row.model_dump(mode="json") for row in rows])
