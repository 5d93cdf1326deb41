"""Choose among candidates without seeing a reference.

For each candidate y of a clip, with log-probability logp(y) in nats and |y| words (the end of the caption counts as one):

    score(y) = a · logp(y) / |y|^γ  +  b · cos(audio, y)  +  c · mean over the other candidates z of CIDEr-D(y, z)

The third term is minimum Bayes risk decoding with CIDEr-D as the gain (Kumar and Byrne, "Minimum Bayes-Risk Decoding
for Statistical Machine Translation", HLT-NAACL 2004). Its document frequencies come from the candidates of all clips,
or from a given corpus such as the training captions; never from the references of the clips that are captioned.

Legend: Y candidates of all clips, P pairs of a candidate and another one of its clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from fusion_eval.errors import ConfigError, DataError
from fusion_eval.metrics.cider_d import CiderD
from fusion_eval.metrics.document_frequency import DocumentFrequency
from fusion_eval.ngrams import Floats, Integers
from fusion_eval.schemas.base import first_problem
from fusion_eval.schemas.predictions import Candidate, PredictionItem, Predictions
from fusion_eval.schemas.rerank import RerankWeights, TunedWeights
from fusion_eval.tokenize import tokenize_all


@dataclass(frozen=True)
class CandidateFeatures:
    """What the reranker knows of all candidates, clip after clip; a clip's candidates lie side by side.

    ``logprob_Y`` and ``similarity_Y`` are None where some candidate has none.
    """

    clip_Y: Integers
    words_Y: Integers
    logprob_Y: Floats | None
    similarity_Y: Floats | None
    consensus_Y: Floats

    def scores(self, weights: RerankWeights) -> Floats:
        """Return the reranker's score of each candidate.

        Raises:
            DataError: a weight is not 0 whose feature some candidate lacks.
        """
        total_Y = weights.consensus * self.consensus_Y
        if weights.logprob:
            total_Y = total_Y + weights.logprob * self._known("logprob") / self.words_Y**weights.length_exponent
        if weights.similarity:
            total_Y = total_Y + weights.similarity * self._known("similarity")
        return total_Y

    def choose(self, weights: RerankWeights) -> Integers:
        """Return each clip's best candidate as an index into all; of equals the first."""
        scores_Y = self.scores(weights)
        order = np.lexsort((np.arange(len(scores_Y)), -scores_Y, self.clip_Y))
        first = np.append(True, np.diff(self.clip_Y[order]) != 0)
        chosen_C: Integers = order[first]
        return chosen_C

    def _known(self, name: str) -> Floats:
        values: Floats | None = getattr(self, f"{name}_Y")
        if values is None:
            raise DataError(
                f"predictions: some candidates have no {name}, which the weights ask for; write it or set its weight to 0."
            )
        return values


def candidate_features(
    candidates: Sequence[Sequence[Candidate]], document_frequency: DocumentFrequency | None = None
) -> CandidateFeatures:
    """Return what the reranker needs of the candidates of each clip; every clip has at least one.

    Args:
        candidates: the candidates by clip.
        document_frequency: df and N of the consensus; by default from these candidates, one «document» a clip.
    """
    sizes = np.fromiter(map(len, candidates), dtype=np.int64, count=len(candidates))
    texts = [tokenize_all(one.text for one in clip) for clip in candidates]
    flat = list(chain.from_iterable(candidates))
    return CandidateFeatures(
        clip_Y=np.repeat(np.arange(len(sizes)), sizes),
        words_Y=np.fromiter((len(text) + 1 for text in chain.from_iterable(texts)), dtype=np.int64, count=len(flat)),
        logprob_Y=_column([one.logprob for one in flat]),
        similarity_Y=_column([one.similarity for one in flat]),
        consensus_Y=_consensus(texts, document_frequency or DocumentFrequency.from_references(texts)),
    )


def rerank(
    predictions: Predictions, weights: RerankWeights, document_frequency: DocumentFrequency | None = None
) -> Predictions:
    """Return the predictions with each clip's best candidate as its caption; the candidates stay as they were.

    A clip without candidates keeps its caption.

    Args:
        predictions: captions with candidates.
        weights: the weights; those of the candidates' missing features must be 0.
        document_frequency: df and N of the consensus, such as those of the training captions.

    Raises:
        DataError: no clip has candidates, or some candidate lacks a feature that a weight asks for.
    """
    having = [item for item in predictions.items if item.candidates]
    if not having:
        raise DataError("The predictions have no candidates; decode with more than one beam and keep them.")
    features = candidate_features([item.candidates or () for item in having], document_frequency)
    flat = [one.text for item in having for one in item.candidates or ()]
    chosen = {item.id: flat[index] for item, index in zip(having, features.choose(weights), strict=True)}
    return predictions.model_copy(
        update={
            "system": f"{predictions.system} reranked",
            "items": tuple(
                PredictionItem(id=item.id, caption=chosen.get(item.id, item.caption), candidates=item.candidates)
                for item in predictions.items
            ),
        }
    )


def parse_weights(text: str | None) -> RerankWeights:
    """Return the weights of a file of ``tune_rerank`` or of NAME=VALUE pairs; None means the consensus alone.

    Weights that the pairs do not name are 0, the exponent is 1.

    Raises:
        ConfigError: a name or a value is wrong.
        DataError: the file is absent or holds no weights.
    """
    if text is None:
        return RerankWeights(logprob=0, consensus=1)
    if "=" not in text:
        return TunedWeights.read(Path(text)).weights
    pairs = [pair.partition("=") for pair in text.split(",")]
    try:
        return RerankWeights.model_validate({"logprob": 0.0} | {name.strip(): value for name, _, value in pairs})
    except ValidationError as error:
        names = ", ".join(RerankWeights.model_fields)
        raise ConfigError(f"Weights '{text}': {first_problem(error)} The weights are {names}.") from error


def _column(values: Sequence[float | None]) -> Floats | None:
    return None if None in values else np.array(values, dtype=np.float64)


def _consensus(texts: Sequence[Sequence[Sequence[str]]], document_frequency: DocumentFrequency) -> Floats:
    """Return the mean CIDEr-D of each candidate against the others of its clip; 0 for an only candidate."""
    flat = list(chain.from_iterable(texts))
    sizes = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    starts = np.cumsum(sizes) - sizes
    size_Y = np.repeat(sizes, sizes)
    own_P = np.repeat(np.arange(len(flat)), size_Y)
    offset_P = np.arange(len(own_P)) - np.repeat(np.cumsum(size_Y) - size_Y, size_Y)
    other_P = np.repeat(np.repeat(starts, sizes), size_Y) + offset_P
    different = own_P != other_P
    own_P, other_P = own_P[different], other_P[different]
    scorer = CiderD([[text] for text in flat], document_frequency)
    gain_P = scorer.score([flat[index] for index in own_P], other_P) if len(own_P) else np.zeros(0)
    total_Y = np.bincount(own_P, weights=gain_P, minlength=len(flat))
    mean_Y: Floats = total_Y / np.maximum(size_Y - 1, 1)
    return mean_Y
