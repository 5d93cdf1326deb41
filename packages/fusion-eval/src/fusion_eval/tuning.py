"""Choose the reranker's weights on a validation split.

Only here do references meet the reranker: they score the candidates of a split that is not reported. The test split is
refused by name.

Legend: Y candidates of all clips, C clips.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, product

import numpy as np

from fusion_eval.align import align
from fusion_eval.errors import ConfigError, DataError
from fusion_eval.metrics.base import ScoredClips
from fusion_eval.metrics.cider_d import CiderD
from fusion_eval.metrics.document_frequency import DocumentFrequency
from fusion_eval.ngrams import Floats, Integers
from fusion_eval.reranking import CandidateFeatures, candidate_features
from fusion_eval.schemas.predictions import Candidate, Predictions
from fusion_eval.schemas.references import References
from fusion_eval.schemas.rerank import RerankWeights, TunedWeights
from fusion_eval.tokenize import tokenize_all

VALIDATION_SPLITS = ("val", "valid", "validation", "dev")
METRICS = ("cider_d", "spider")
SHARES = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # weights relative to that of the log-probability
LENGTH_EXPONENTS = (0.0, 0.5, 0.7, 1.0)
FOLDS = 5


def tune_rerank(
    predictions: Predictions,
    references: References,
    metric: str = "cider_d",
    document_frequency: DocumentFrequency | None = None,
    allow_missing: bool = False,
) -> TunedWeights:
    """Return the weights of a grid whose choices score best on these clips.

    Of equally good weights the first of the grid wins, and the grid begins with the log-probability alone. As weights
    that were chosen on some clips flatter themselves on them, a five-fold cross-validated value is given beside.

    Args:
        predictions: captions of a validation split with candidates.
        references: its references.
        metric: «cider_d», or «spider» where SPICE can be had.
        document_frequency: df and N of the consensus; the same must be given when the weights are used.
        allow_missing: leave clips without a prediction out instead of refusing: no weights change an empty caption.

    Raises:
        ConfigError: the split is no validation split, or the metric is another.
        DataError: ids do not fit together, or a clip has no candidates.
        MissingAssetError: SPIDEr is asked for and SPICE cannot be had.
    """
    if predictions.split not in VALIDATION_SPLITS:
        raise ConfigError(
            f"Weights are tuned on a validation split ({', '.join(VALIDATION_SPLITS)}), not on '{predictions.split}'; "
            "give the predictions and references of the validation split."
        )
    alignment = align(predictions, references, allow_missing=allow_missing)
    clips = _without(alignment.missing, alignment.clips)
    by_id = {item.id: item.candidates or () for item in predictions.items}
    candidates = [by_id[name] for name in clips.ids]
    if not all(candidates):
        without = clips.ids[[bool(found) for found in candidates].index(False)]
        raise DataError(f"predictions: clip '{without}' has no candidates; decode every clip with several beams.")
    features = candidate_features(candidates, document_frequency)
    value_Y = _values(candidates, clips.references, features.clip_Y, metric)
    before = _values([[Candidate(text=text)] for text in clips.captions], clips.references, None, metric)
    grid = list(_grid(features))
    value_GC = np.array([value_Y[features.choose(weights)] for weights in grid])
    best = int(value_GC.mean(axis=1).argmax())
    return TunedWeights(
        weights=grid[best],
        dataset=references.dataset,
        split=references.split,
        predictions_sha256=predictions.sha256(),
        references_sha256=references.sha256(),
        n=len(candidates),
        missing=alignment.missing,
        metric=metric,
        before=float(before.mean()),
        after=float(value_GC[best].mean()),
        cross_validated=_cross_validate(value_GC),
        oracle=float(np.maximum.reduceat(value_Y, np.unique(features.clip_Y, return_index=True)[1]).mean()),
        definition={
            "df": "the candidates" if document_frequency is None else f"a corpus of {document_frequency.clips} clips",
            "grid": len(grid),
            "shares": list(SHARES),
            "length_exponents": list(LENGTH_EXPONENTS),
            "folds": FOLDS,
        },
    )


def _without(missing: Sequence[str], clips: ScoredClips) -> ScoredClips:
    """Return the clips that have a prediction.

    Raises:
        DataError: none has.
    """
    rows = [row for row, name in enumerate(clips.ids) if name not in set(missing)]
    if not rows:
        raise DataError("predictions: no clip of the references has one; give those of the validation split.")
    return replace(
        clips,
        ids=[clips.ids[row] for row in rows],
        captions=[clips.captions[row] for row in rows],
        references=[clips.references[row] for row in rows],
    )


def _values(
    candidates: Sequence[Sequence[Candidate]],
    references: Sequence[Sequence[str]],
    clip_Y: Integers | None,
    metric: str,
) -> Floats:
    """Return the metric of each candidate against the references of its clip."""
    if metric not in METRICS:
        raise ConfigError(f"Weights are tuned for {' or '.join(METRICS)}, not for '{metric}'; name one of these.")
    texts = [one.text for one in chain.from_iterable(candidates)]
    places = np.arange(len(candidates)) if clip_Y is None else clip_Y
    value_Y = CiderD([tokenize_all(captions) for captions in references]).score(tokenize_all(texts), places)
    if metric == "spider":
        from fusion_eval.metrics.spice import spice

        value_Y = (value_Y + np.array(spice(texts, [references[place] for place in places]))) / 2
    return value_Y


def _grid(features: CandidateFeatures) -> Iterator[RerankWeights]:
    """Yield the weights to try: of features that every candidate has, with the log-probability's weight at 1 or 0."""
    logprob = (1.0, 0.0) if features.logprob_Y is not None else (0.0,)
    similarity = SHARES if features.similarity_Y is not None else (0.0,)
    for a, b, c in product(logprob, similarity, SHARES):
        if not a and max(b, c) != 1.0:
            continue  # without the log-probability only the ratio of the other two matters
        for exponent in LENGTH_EXPONENTS[::-1] if a else (1.0,):
            yield RerankWeights(logprob=a, similarity=b, consensus=c, length_exponent=exponent)


def _cross_validate(value_GC: Floats) -> float:
    """Return the mean over folds' clips of what the weights that are best on the other folds choose."""
    clips = np.arange(value_GC.shape[1])
    chosen_C = np.empty(len(clips))
    for fold in range(min(FOLDS, len(clips))):
        held = clips % FOLDS == fold
        seen = value_GC if held.all() else value_GC[:, ~held]
        chosen_C[held] = value_GC[seen.mean(axis=1).argmax(), held]
    return float(chosen_C.mean())
