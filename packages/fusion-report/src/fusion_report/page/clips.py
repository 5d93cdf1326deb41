"""The clips of the page: for each set of clips what is known of it, and what every run said.

A set is one split of one dataset with one set of references. Texts stand in columns, one entry a clip: so the data
stay small.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fusion_eval.schemas import PredictionItem, SceneItem

from fusion_report.page.datasets import PreparedData, SplitData, find_split, with_kept
from fusion_report.page.labels import in_order, run_label
from fusion_report.page.outputs import ORACLE, RERANKED, Output, PageResults, PageRun
from fusion_report.page.weight import Limits, evenly_spaced

Data = dict[str, Any]
DIGITS = 4
VALIDATION = "val"


@dataclass
class ClipSet:
    """One set of clips.

    Attributes:
        dataset: its name.
        split: its name.
        known: media, references and events.
        ids: the clips of the page.
        left_out: how many clips there are beyond them.
        said: every output with its run, the most telling first.
    """

    dataset: str
    split: str
    known: SplitData
    ids: list[str]
    left_out: int = 0
    said: list[tuple[PageRun, Output]] = field(default_factory=list)


def gather_sets(results: PageResults, datasets: Sequence[PreparedData], limits: Limits) -> list[ClipSet]:
    """Return the sets of clips that were captioned, test splits first; together no more clips than the limit."""
    said: dict[tuple[str, str, str | None], list[tuple[PageRun, Output]]] = {}
    for run in results.runs:
        for output in run.outputs.values():
            if output.predictions is not None:
                made = output.predictions
                said.setdefault((made.dataset, made.split, _references_of(output)), []).append((run, output))
    sets = []
    for (dataset, split, sha256), pairs in said.items():
        events = next((output.scores.events_sha256 for _, output in pairs if output.scores is not None), None)
        known = with_kept(find_split(datasets, dataset, split, sha256), results.root, sha256, events)
        ids = _ids(known, [output for _, output in pairs])
        sets.append(ClipSet(dataset, split, known, ids, said=sorted(pairs, key=_priority)))
    sets.sort(key=lambda one: one.split != "test")
    room = limits.clips
    for one in sets:
        kept = evenly_spaced(len(one.ids), room)
        one.left_out = len(one.ids) - len(kept)
        one.ids = [one.ids[index] for index in kept]
        room -= len(kept)
    return sets


def _references_of(output: Output) -> str | None:
    if output.scores is not None:
        return output.scores.references_sha256
    return output.predictions.references_sha256 if output.predictions is not None else None


def _ids(known: SplitData, outputs: Iterable[Output]) -> list[str]:
    ids = dict.fromkeys(known.references)
    for output in outputs:
        ids |= dict.fromkeys(item.id for item in output.predictions.items) if output.predictions else {}
    return list(ids)


def _priority(pair: tuple[PageRun, Output]) -> tuple[int, int]:
    """Sort what was heard rightly before the controls, and first seeds before the others."""
    run, output = pair
    first = (run.whole, RERANKED)
    return first.index(output.condition) if output.condition in first else len(first), run.plan.seed


def describe_clip(one: ClipSet, clip: str, kinds: dict[str, list[str]]) -> Data:
    """Return what is known of one clip; what is not known is left out."""
    row = one.known.data.rows.get(clip) if one.known.data is not None else None
    found: Data = {"id": clip, "references": list(one.known.references.get(clip, ()))}
    if row is not None and row.seconds is not None:
        found["seconds"] = round(row.seconds, 3)
    if row is not None and row.licence:
        found["licence"] = row.licence
    if clip in kinds:
        found["kinds"] = kinds[clip]
    if clip in one.known.events:
        found["events"] = _describe_events(one.known.events[clip])
    return found


def _describe_events(item: SceneItem) -> list[Data]:
    return [
        {
            "name": event.sound_class,
            "onset": event.onset,
            "offset": event.offset,
            "background": event.role == "background",
            "count": event.count,
        }
        for event in item.events
    ]


def kinds_of_clips(one: ClipSet) -> dict[str, list[str]]:
    """Return the kinds of each clip, such as seen or held out, as the runs' subsets or the event graphs say."""
    kinds: dict[str, list[str]] = {}
    for run in dict.fromkeys(run.plan.name for run, _ in one.said):
        subsets = next(pair[0].subsets for pair in one.said if pair[0].plan.name == run)
        for name, clips in subsets.items():
            for clip in clips:
                if name not in kinds.setdefault(clip, []):
                    kinds[clip].append(name)
    for clip, item in one.known.events.items():
        kinds.setdefault(clip, [item.combination])
    return {clip: [name.replace("_", " ") for name in names] for clip, names in kinds.items()}


@dataclass
class TextBudget:
    """How many bytes of captions may still be added, and what was left out for want of room."""

    room: int
    left_out: list[str] = field(default_factory=list)

    def takes(self, content: Any, name: str) -> bool:
        """Return whether there is room for a content; where not, its name is kept as left out."""
        size = len(json.dumps(content, ensure_ascii=False).encode())
        if size > self.room:
            self.left_out.append(name)
            return False
        self.room -= size
        return True


def describe_outputs(one: ClipSet, budget: TextBudget) -> list[Data]:
    """Return what every run said of the set's clips, column by column; candidates where there is room for them."""
    found: list[tuple[Data, Output]] = []
    for run, output in one.said:
        column = _column(run, output, one.ids)
        if budget.takes(column, f"{column['label']}, seed {run.plan.seed}, {output.label}"):
            found.append((column, output))
    for column, output in found:
        candidates = _candidates(output, one.ids)
        name = f"candidates of {column['label']}, seed {column['seed']}, {output.label}"
        if candidates and budget.takes(candidates, name):
            column["candidates"] = candidates
    return [column for column, _ in found]


def _column(run: PageRun, output: Output, ids: Sequence[str]) -> Data:
    items = _items(output)
    column: Data = {
        "run": run.plan.name,
        "label": run_label(run.plan),
        "system": run.plan.system,
        "seed": run.plan.seed,
        "condition": output.condition,
        "heard": output.condition in (run.whole, RERANKED, VALIDATION),
        "condition_label": output.label,
        "captions": [items[clip].caption if clip in items else None for clip in ids],
    }
    if output.scores is None:
        return column | {"scores": {}, "reason": output.reason}
    by_clip = {clip.id: clip.values for clip in output.scores.per_clip}
    metrics = in_order({name for values in by_clip.values() for name in values})
    return column | {"scores": {name: [_rounded(by_clip.get(clip, {}).get(name)) for clip in ids] for name in metrics}}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)


def _items(output: Output) -> dict[str, PredictionItem]:
    if output.predictions is None or output.condition == ORACLE:
        return {}
    return {item.id: item for item in output.predictions.items}


def _candidates(output: Output, ids: Sequence[str]) -> list[list[list[Any]] | None] | None:
    """Return [text, log-probability, similarity] of every candidate, clip by clip; None where no clip has some."""
    items = _items(output)
    found: list[list[list[Any]] | None] = []
    for clip in ids:
        candidates = items[clip].candidates if clip in items else None
        found.append(
            [[one.text, _rounded(one.logprob), _rounded(one.similarity)] for one in candidates] if candidates else None
        )
    return found if any(found) else None
