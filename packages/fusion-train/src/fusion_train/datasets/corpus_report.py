"""What the preparation of a corpus found: counts, lengths, hashes, published lists, what was odd, what is missing."""

from __future__ import annotations

import statistics as numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fusion_eval.schemas import ManifestRow, References, counts_by_status

from fusion_train.datasets.base import PreparedDataset, rows_sha256
from fusion_train.datasets.captions_csv import NORMALISATION

REPORT = "report.md"
_UNUSABLE = ("missing", "corrupt", "too_short")


@dataclass(frozen=True)
class Preparation:
    """What a report is written from.

    Attributes:
        title: of the corpus.
        rows: the manifest.
        references: the captions by split.
        lists: the captions of published lists of test clips.
        quirks: what was odd or put right, in a sentence each.
        known: the published releases by the hash of a split's references.
        usual_seconds: between which lengths (s) the corpus' clips are.
    """

    title: str
    rows: Sequence[ManifestRow]
    references: Sequence[References]
    lists: Mapping[str, References]
    quirks: Sequence[str]
    known: Mapping[str, str]
    usual_seconds: tuple[float, float]


def statistics(preparation: Preparation) -> dict[str, Any]:
    """Return what ``dataset.json`` keeps of a preparation."""
    usable = {row.id for row in preparation.rows if row.status == "ok"}
    return {
        "splits": {references.split: _split(preparation, references) for references in preparation.references},
        "lists": {
            name: {
                "clips": len(listed.items),
                "usable": sum(item.id in usable for item in listed.items),
                "references_sha256": listed.sha256(),
            }
            for name, listed in preparation.lists.items()
        },
        "normalisation": NORMALISATION,
        "quirks": list(preparation.quirks),
    }


def denominators(dataset: PreparedDataset) -> list[str]:
    """Return for each split that has captions over how many clips its scores are, in a sentence."""
    return [_denominator(dataset, split) for split in dataset.splits if dataset.has_references(split)]


def render_report(preparation: Preparation) -> str:
    """Return the report of a preparation in Markdown: what the methods section needs, and every clip that is unusable."""
    found = statistics(preparation)
    parts = [f"# {preparation.title} as it was prepared", *_split_tables(found["splits"]), *_list_table(found["lists"])]
    if preparation.quirks:
        parts += ["## What was odd", "\n".join(f"- {quirk}." for quirk in preparation.quirks)]
    low, high = preparation.usual_seconds
    parts += [f"## Usable clips that do not last {low:g} to {high:g} s", _of_unusual_length(preparation)]
    parts += ["## Clips without usable audio", _unusable(preparation.rows)]
    return "\n\n".join(parts) + "\n"


def _split(preparation: Preparation, references: References) -> dict[str, Any]:
    rows = [row for row in preparation.rows if row.split == references.split]
    lengths = [row.seconds for row in rows if row.status == "ok" and row.seconds is not None]
    digest = references.sha256()
    return {
        "clips": len(rows),
        **counts_by_status(rows),
        "captions": sum(len(item.references) for item in references.items),
        "hours": round(sum(lengths) / 3600, 3),
        "seconds": _spread(lengths),
        "of_unusual_length": len(_unusual([row for row in rows if row.status == "ok"], preparation.usual_seconds)),
        "rows_sha256": rows_sha256(rows),
        "references_sha256": digest,
        "release": preparation.known.get(digest),
    }


def _unusual(rows: Sequence[ManifestRow], usual: tuple[float, float]) -> list[ManifestRow]:
    return [row for row in rows if row.seconds is not None and not usual[0] <= row.seconds <= usual[1]]


def _spread(lengths: Sequence[float]) -> dict[str, float] | None:
    if not lengths:
        return None
    spread = {"shortest": min(lengths), "median": numbers.median(lengths), "longest": max(lengths)}
    return {name: round(value, 3) for name, value in spread.items()}


def _denominator(dataset: PreparedDataset, split: str) -> str:
    rows = dataset.rows(split)
    counts = counts_by_status(rows)
    lost = sum(counts[status] for status in _UNUSABLE)
    detail = ", ".join(f"{counts[status]} {status.replace('_', ' ')}" for status in _UNUSABLE if counts[status])
    whole = int(dataset.card.statistics.get("splits", {}).get(split, {}).get("clips", len(rows)))
    part = f" of {whole:,}" if whole != len(rows) else ""
    if split == "train":
        return f"train: {counts['ok']:,} clips with usable audio" + (f"; without: {detail}" if lost else "")
    if not lost:
        return f"{split}: scored over {len(rows):,}{part} clips, all with usable audio"
    return f"{split}: scored over {len(rows):,}{part} clips; {lost:,} without usable audio ({detail}) count as empty captions"


def _split_tables(splits: Mapping[str, Mapping[str, Any]]) -> list[str]:
    counts = [
        [name, *(f"{split[key]:,}" for key in ("clips", "ok", "missing", "corrupt", "too_short", "captions"))]
        for name, split in splits.items()
    ]
    lengths = [
        [
            name,
            f"{split['hours']:.2f}",
            *_cells(split["seconds"]),
            str(split["of_unusual_length"]),
        ]
        for name, split in splits.items()
    ]
    hashes = [
        [name, split["release"] or "none that is known", f"`{split['references_sha256']}`", f"`{split['rows_sha256']}`"]
        for name, split in splits.items()
    ]
    return [
        f"A score is over all clips of a split; a clip without usable audio counts as an empty caption. "
        f"{NORMALISATION[0].upper()}{NORMALISATION[1:]}.",
        _table(["split", "clips", "usable", "missing", "corrupt", "too short", "captions"], counts),
        _table(["split", "hours", "shortest (s)", "median (s)", "longest (s)", "of unusual length"], lengths),
        _table(["split", "captions equal", "SHA-256 of the references", "SHA-256 of the manifest's rows"], hashes),
    ]


def _cells(seconds: Mapping[str, float] | None) -> list[str]:
    """Return shortest, median and longest clip, or dashes where no clip is usable."""
    return [f"{value:.2f}" for value in seconds.values()] if seconds else ["-", "-", "-"]


def _list_table(lists: Mapping[str, Mapping[str, Any]]) -> list[str]:
    if not lists:
        return []
    rows = [
        [name, f"{one['clips']:,}", f"{one['usable']:,}", f"`{one['references_sha256']}`"]
        for name, one in lists.items()
    ]
    return ["## Published lists of test clips", _table(["list", "clips", "usable", "SHA-256 of the references"], rows)]


def _of_unusual_length(preparation: Preparation) -> str:
    cells = [
        [f"`{row.id}`", row.split, f"{row.seconds:.2f}"]
        for row in _unusual(preparation.rows, preparation.usual_seconds)
    ]
    return _table(["clip", "split", "seconds"], cells) if cells else "None."


def _unusable(rows: Sequence[ManifestRow]) -> str:
    lost = [row for row in rows if row.status != "ok"]
    if not lost:
        return "None."
    cells = [[f"`{row.id}`", row.split, row.status.replace("_", " "), row.reason or ""] for row in lost]
    return _table(["clip", "split", "status", "reason"], cells)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
