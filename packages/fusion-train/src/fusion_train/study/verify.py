"""Compute again what a study claims: every hash, every score from its predictions, every choice of the reranker."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fusion_core.files import sha256_file
from fusion_eval.errors import FusionError
from fusion_eval.registry import metric_names
from fusion_eval.reranking import rerank
from fusion_eval.schemas import Predictions, References, RunCard, SceneEvents, Scores
from fusion_eval.schemas.rerank import TunedWeights
from fusion_eval.schemas.study import StudyRunFile
from fusion_eval.scoring import score

from fusion_train.study.kept import RUN_CARD, RUN_FILE, KeptResults
from fusion_train.study.plan import Plan

TOLERANCE = 1e-9


@dataclass(frozen=True)
class Discrepancy:
    """Something that is not as it is claimed: in which run, in which file, what."""

    run: str
    file: str
    what: str


def verify_study(plan: Plan, kept: KeptResults, seen: Callable[[str], None] = lambda name: None) -> list[Discrepancy]:
    """Return all that differs; an empty list is what one hopes for.

    Args:
        plan: the runs.
        kept: their results.
        seen: called with the name of each run that was looked at.
    """
    found: list[Discrepancy] = []
    for folder in sorted(path for path in (kept.root / "runs").glob("*") if (path / RUN_FILE).is_file()):
        found += _verify_run(plan, kept, folder)
        seen(folder.name)
    return [*found, *_verify_card(plan, kept)]


def _verify_card(plan: Plan, kept: KeptResults) -> Iterator[Discrepancy]:
    card = kept.read_card()
    if card is None:
        yield Discrepancy("", "study_card.json", "is absent or cannot be read")
        return
    if card.config_sha256 != plan.study.sha256():
        yield Discrepancy("", "study_card.json", "was made from another configuration; run the study again")
    done = {entry.name: entry for entry in card.runs if entry.status == "done"}
    for name, entry in done.items():
        path = kept.folder(name) / RUN_CARD
        claimed = entry.run_card_sha256
        if claimed is not None and (not path.is_file() or sha256_file(path) != claimed):
            yield Discrepancy(name, RUN_CARD, "is not the one that the study card names")
    for run in plan.runs.values():
        if (kept.find(run) is not None) != (run.name in done):
            yield Discrepancy(run.name, "study_card.json", "says another state than the run's folder")


def _verify_run(plan: Plan, kept: KeptResults, folder: Path) -> Iterator[Discrepancy]:
    name = folder.name
    try:
        claimed = StudyRunFile.read(folder / RUN_FILE)
    except FusionError as reason:
        yield Discrepancy(name, RUN_FILE, str(reason))
        return
    planned = plan.runs.get(name)
    if planned is None:
        yield Discrepancy(name, RUN_FILE, "belongs to no run of the plan")
    elif planned.identity != claimed.run.identity:
        yield Discrepancy(name, RUN_FILE, "was made with other settings or from another parent than the plan says")
    for place, sha256 in claimed.files.items():
        path = folder / place
        if not path.is_file():
            yield Discrepancy(name, place, "is absent")
        elif sha256_file(path) != sha256:
            yield Discrepancy(name, place, "has another hash than when it was kept")
    strangers = sorted({str(p.relative_to(folder)) for p in folder.rglob("*.json*")} - set(claimed.files) - {RUN_FILE})
    yield from (Discrepancy(name, stranger, "was not there when the run was kept") for stranger in strangers)
    try:
        yield from _verify_results(kept, folder)
    except FusionError as reason:
        yield Discrepancy(name, "", str(reason))


def _verify_results(kept: KeptResults, folder: Path) -> Iterator[Discrepancy]:
    predictions = {path.stem: Predictions.read(path) for path in sorted((folder / "predictions").glob("*.json"))}
    by_hash = {one.sha256(): one for one in predictions.values()}
    scores = {path.stem: Scores.read(path) for path in sorted((folder / "scores").glob("*.json"))}
    if (folder / RUN_CARD).is_file():
        yield from _compare_with_card(RunCard.read(folder / RUN_CARD), folder.name, predictions, scores)
    for condition, claimed in scores.items():
        source = by_hash.get(claimed.predictions_sha256)
        place = f"scores/{condition}.json"
        if source is not None:
            yield from (Discrepancy(folder.name, place, what) for what in _score_again(kept, claimed, source))
        elif condition in predictions:
            yield Discrepancy(folder.name, place, "was computed from other predictions")
    yield from _rerank_again(folder, predictions)


def _compare_with_card(
    card: RunCard, name: str, predictions: dict[str, Predictions], scores: dict[str, Scores]
) -> Iterator[Discrepancy]:
    """Yield what is not as the run card says, of the files that are kept."""
    for result in card.results:
        for kind, kept, claimed in (
            ("predictions", predictions, result.predictions_sha256),
            ("scores", scores, result.scores_sha256),
        ):
            own = kept.get(result.condition)
            if own is not None and own.sha256() != claimed:
                place = f"{kind}/{result.condition}.json"
                yield Discrepancy(name, place, "is not the one that the run card names")


def _score_again(kept: KeptResults, claimed: Scores, predictions: Predictions) -> Iterator[str]:
    """Yield what differs where the scores are computed again."""
    path = kept.root / "references" / f"{claimed.references_sha256}.json"
    if not path.is_file():
        yield "its references are not kept, so it cannot be computed again"
        return
    events = None
    if claimed.events_sha256 is not None:
        events = SceneEvents.read(kept.root / "events" / f"{claimed.events_sha256}.json")
    names = tuple(name for name in claimed.definition if name in metric_names())
    again = score(predictions, References.read(path), metrics=names, events=events, allow_missing=True)
    for metric, value in claimed.metrics.items():
        found = again.metrics.get(metric)
        if found is None or not math.isclose(found, value, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            yield f"{metric} is {value:.6f} there and {'absent' if found is None else f'{found:.6f}'} when computed again"


def _rerank_again(folder: Path, predictions: dict[str, Predictions]) -> Iterator[Discrepancy]:
    path = folder / "rerank_weights.json"
    if not path.is_file() or not {"val", "audio", "reranked"} <= set(predictions):
        return
    weights = TunedWeights.read(path)
    if weights.predictions_sha256 != predictions["val"].sha256():
        yield Discrepancy(folder.name, path.name, "was tuned on other predictions than val.json")
    if rerank(predictions["audio"], weights.weights).sha256() != predictions["reranked"].sha256():
        yield Discrepancy(folder.name, "predictions/reranked.json", "is not what the weights choose")
