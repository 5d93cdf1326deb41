"""What training further by the metric does to the captions: scores beside length, vocabulary, repetition and diversity.

A reward can harm captions while it raises their scores, so no row of self-critical training stands without these. Where a
scores file lacks them they are computed from the predictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from fusion_eval.errors import DataError, FusionError
from fusion_eval.metrics.base import Resources, ScoredClips
from fusion_eval.metrics.document_frequency import DocumentFrequency
from fusion_eval.registry import load_metric
from fusion_eval.schemas import Predictions, References
from fusion_eval.schemas.comparison import SystemValue
from fusion_eval.tokenize import tokenize_all

from fusion_report.groups import Group, said_once
from fusion_report.measuring import difference_cell, value_cells
from fusion_report.metric_names import FALLBACK, label_of, present, score_metric
from fusion_report.results import Results, Run
from fusion_report.study import Study
from fusion_report.table import Cell, Column, Row, Table, empty, measured, words
from fusion_report.tables.captions import PAIRED, scored

UNSEEN = "unseen_bigrams"
FLUENCY = {
    "caption_length": ("Words", 1),
    "vocabulary": ("Vocabulary", 0),
    "repetition": ("Repetition", 3),
    UNSEEN: ("Unseen bigrams", 3),
    "self_bleu": ("Self-BLEU", 3),
}
"""By metric: what the column is called and its digits."""

_SHOWN = 3  # metrics of content beside the proxies


def objective_table(study: Study) -> Table:
    """Return the objectives of each system: cross-entropy, with the contrastive loss, and self-critical training from it."""
    groups = _with_objectives(study)
    files = study.files(groups)
    metrics = (present(files) or (FALLBACK,))[:_SHOWN]
    score = score_metric(files)
    rows = [_row(study, group, metrics, score) for group in groups]
    if not rows:
        reason = "The study has no run with another objective than cross-entropy."
        rows = [Row(cells=(words("(no run)"), *[empty(reason)] * (len(metrics) + 1 + len(FLUENCY))))]
    return Table(
        key="objectives",
        title="Objectives and fluency",
        caption=(
            *scored(study, groups, metrics),
            f"Δ is to the run that it started from, or to the same system's cross-entropy. {PAIRED}",
            "Repetition is the share of captions that say a pair of words twice; unseen bigrams, the share with a pair of words"
            " that no training caption has; self-BLEU, the likeness of a clip's candidates to one another.",
        ),
        columns=(
            Column(key="objective", title="Objective", numeric=False),
            *(Column(key=name, title=label_of(name)) for name in metrics),
            Column(key="difference", title=f"Δ {label_of(score)}"),
            *(Column(key=name, title=title) for name, (title, _) in FLUENCY.items()),
        ),
        rows=tuple(rows),
    )


def _with_objectives(study: Study) -> list[Group]:
    """Return the groups of systems that have more than one objective, and what they started from."""
    further = [
        group
        for group in study.groups
        if group.stage in ("xe", "scst") and (group.stage == "scst" or group.variant.startswith("contrastive"))
    ]
    systems = {(group.system, group.dataset) for group in further}
    return [
        group
        for group in study.groups
        if (group.system, group.dataset) in systems
        and (group in further or (group.stage == "xe" and not group.variant))
    ]


def _row(study: Study, group: Group, metrics: Sequence[str], score: str) -> Row:
    return Row(
        cells=(
            words(group.label),
            *value_cells(study.measuring, group, metrics).values(),
            difference_cell(study.measuring, group, start_of(study, group), score),
            *(_fluency(study.results, group, name, digits) for name, (_, digits) in FLUENCY.items()),
        )
    )


def start_of(study: Study, group: Group) -> Group | None:
    """Return what a group is compared with: the group that its runs started from, else the system's default."""
    parents = {run.entry.parent for run in group.runs if run.entry.parent}
    for other in study.groups:
        if parents & {run.entry.name for run in other.runs}:
            return other
    for other in study.groups:
        if (other.system, other.stage, other.variant, other.dataset) == (group.system, "xe", "", group.dataset):
            return other
    return None


def _fluency(results: Results, group: Group, metric: str, digits: int) -> Cell:
    values, places, reasons = [], [], []
    for run in group.runs:
        try:
            value, place = _measure(results, run, metric)
        except FusionError as error:
            reasons.append((run.entry.name, str(error)))
            continue
        values.append(value)
        places.append(place)
    if not values:
        return empty(" ".join(said_once(reasons)))
    found = SystemValue.model_validate({"value": sum(values) / len(values), "seeds": _seeds(values)})
    reason = " ".join(said_once(reasons)) or None
    return measured(found, places, reason).model_copy(update={"digits": digits})


def _seeds(values: Sequence[float]) -> dict[str, object]:
    from statistics import fmean, stdev

    return {"values": values, "mean": fmean(values), "stdev": stdev(values) if len(values) > 1 else None}


def _measure(results: Results, run: Run, metric: str) -> tuple[float, str]:
    """Return a metric of the captions alone, as it was scored or computed now, and its file.

    Raises:
        FusionError: there are no captions, or they or the training captions do not have what the metric needs.
    """
    scores = run.scores()
    if metric in scores.metrics:
        return scores.metrics[metric], run.place("scores/audio.json")
    frequency = _training_frequency(results, run) if metric == UNSEEN else None
    found = load_metric(metric).compute(_clips(run.predictions(), frequency))
    if metric not in found.corpus:
        raise DataError(found.unavailable.get(metric, f"{metric} has no value."))
    return found.corpus[metric], run.place("predictions/audio.json")


def _training_frequency(results: Results, run: Run) -> DocumentFrequency:
    """Return the n-grams of the captions that a run was trained on.

    Raises:
        DataError: the results do not keep them.
    """
    digest = run.card.dataset.references_sha256.get("train")
    if digest is None:
        raise DataError(f"{run.place('run_card.json')} names no training captions.")
    results.references(digest)  # refuses what is not kept, with a sentence
    return _frequency(results.root / "references" / f"{digest}.json")


@lru_cache(maxsize=4)
def _frequency(path: Path) -> DocumentFrequency:
    """Return the n-grams of a references file, counted once."""
    captions = [list(item.references) for item in References.read(path).items]
    return DocumentFrequency.from_references([tokenize_all(texts) for texts in captions])


def _clips(predictions: Predictions, frequency: DocumentFrequency | None) -> ScoredClips:
    """Return captions as a metric takes them that needs no references.

    Raises:
        DataError: there are none.
    """
    if not predictions.items:
        raise DataError("The predictions hold no clip.")
    candidates = [[one.text for one in item.candidates or ()] for item in predictions.items]
    return ScoredClips(
        ids=[item.id for item in predictions.items],
        captions=[item.caption for item in predictions.items],
        references=[()] * len(predictions.items),
        candidates=candidates if any(candidates) else None,
        resources=Resources(document_frequency=frequency),
    )
