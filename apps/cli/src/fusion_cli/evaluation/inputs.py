"""The options that several commands of ``fusion eval`` share, and what they are read into."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fusion_eval.clip_lists import ClipList
    from fusion_eval.metrics.document_frequency import DocumentFrequency
    from fusion_eval.schemas.events import SceneEvents
    from fusion_eval.schemas.references import References

EventsFile = Annotated[
    Path | None,
    typer.Option(help="Event graphs of the split; found beside the references where they lie in events/."),
]
MetricNames = Annotated[str, typer.Option(help="Metrics with commas between, or all.")]
AllowMissing = Annotated[
    bool, typer.Option("--allow-missing", help="Score clips without a prediction as an empty caption.")
]
Clips = Annotated[
    str | None,
    typer.Option(
        "--clips",
        help="Count the clips of this list alone, and all of them: official-975, common-957, conette-912, a list of the dataset, "
        "a file of ids, or FILE.json:NAME. A clip without a prediction counts as an empty caption.",
    ),
]
MetricDocumentFrequency = Annotated[
    Path | None,
    typer.Option(
        help="Document frequencies for CIDEr-D (by default those of the scored references) and unseen_bigrams."
    ),
]
AssetsFolder = Annotated[
    Path | None, typer.Option(help="Folder with FENSE's weights; by default the caches of aac-metrics and the hub.")
]


def split_names(metrics: str) -> list[str]:
    """Return the names of an option with commas between."""
    return [name.strip() for name in metrics.split(",") if name.strip()]


def read_events(events: Path | None, references: Path) -> SceneEvents | None:
    """Read the event graphs: of the file given, or of events/<split>.json where the references lie in references/."""
    from fusion_eval.schemas.events import SceneEvents

    beside = references.parent.parent / "events" / references.name
    if events is None and references.parent.name == "references" and beside.is_file():
        events = beside
    return SceneEvents.read(events) if events is not None else None


def read_clip_list(name: str | None, truth: References, references: Path) -> ClipList | None:
    """Find a list of clips, if one is named: also among lists/ of the dataset where the references lie in references/."""
    if name is None:
        return None
    from fusion_eval.clip_lists import find_clip_list

    folder = references.parent.parent / "lists" if references.parent.name == "references" else None
    return find_clip_list(name, truth, folder)


def read_document_frequency(path: Path | None) -> DocumentFrequency | None:
    """Read a file of document frequencies, if one is named."""
    if path is None:
        return None
    from fusion_eval.metrics.document_frequency import DocumentFrequency

    return DocumentFrequency.load(path)
