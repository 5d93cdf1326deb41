"""Fluency errors, sentence similarity and FENSE, computed by aac-metrics from weights that are on the machine.

    error_probability   the detector's probability that the caption has an error in fluency
    fer                 the share of captions with a probability over 0.9 (strictly)
    sbert_sim           mean cosine of the sentence embeddings of a caption and its references
    fense               sbert_sim · (1 - 0.9 · [error_probability > 0.9])

Zhou et al., "Can Audio Captions Be Evaluated with Image Caption Metrics?", ICASSP 2022. The detector reads captions in
lower case without punctuation, at most 64 tokens. Values computed elsewhere can be given as columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from fusion_eval.errors import DataError, MissingAssetError
from fusion_eval.fense_assets import DETECTOR, DETECTOR_ENCODER, SENTENCE_ENCODER, check_detector, find_asset
from fusion_eval.metrics.base import Metric, MetricValues, ScoredClips

THRESHOLD = 0.9
PENALTY = 0.9
BATCH = 32
LONGEST = 64  # tokens that the detector reads


def error_probabilities(captions: Sequence[str], assets: Path | None = None) -> list[float]:
    """Return the probability of an error in fluency of each caption.

    Args:
        captions: the captions.
        assets: folder with the weights; by default those in the caches of aac-metrics and of the model hub.

    Raises:
        MissingAssetError: aac-metrics or a weight is absent.
        DataError: the detector's file is not the published one, or is no such checkpoint.
    """
    checkpoint = find_asset(f"{DETECTOR}.ckpt", assets)
    encoder = find_asset(DETECTOR_ENCODER, assets)
    fer = _aac_metrics("fer")
    check_detector(checkpoint)
    from transformers import AutoTokenizer

    _, per_clip = fer.fer(
        list(captions),
        echecker=_load_detector(fer, checkpoint, encoder),
        echecker_tokenizer=AutoTokenizer.from_pretrained(encoder, local_files_only=True),
        error_threshold=THRESHOLD,
        batch_size=BATCH,
        return_probs=True,
    )
    return [float(value) for value in per_clip["fer.error_prob"]]


def sentence_similarities(
    captions: Sequence[str], references: Sequence[Sequence[str]], assets: Path | None = None
) -> list[float]:
    """Return the mean cosine of the sentence embeddings of each caption and its references.

    Raises:
        MissingAssetError: aac-metrics or the sentence encoder is absent.
    """
    folder = find_asset(SENTENCE_ENCODER, assets)
    sbert_sim = _aac_metrics("sbert_sim")
    _, per_clip = sbert_sim.sbert_sim(
        list(captions), [list(texts) for texts in references], sbert_model=str(folder), batch_size=BATCH
    )
    return [float(value) for value in per_clip["sbert_sim"]]


def _aac_metrics(name: str) -> Any:
    """Import a module of aac-metrics, and with it torch and transformers."""
    from importlib import import_module

    try:
        return import_module(f"aac_metrics.functional.{name}")
    except ImportError as error:
        raise MissingAssetError(
            f"aac-metrics cannot be imported ({error}); install it with pip install 'fusion-eval[aac]'."
        ) from error


def _load_detector(fer: Any, checkpoint: Path, encoder: Path) -> Any:
    """Build aac-metrics' classifier on a local encoder and give it the published weights."""
    import torch

    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
        states = {name: value for name, value in content["state_dict"].items() if not name.endswith("position_ids")}
        model = fer.BERTFlatClassifier(model_type=str(encoder), num_classes=content["num_classes"])
        model.load_state_dict(states)
    except (KeyError, RuntimeError) as error:
        raise DataError(f"{checkpoint} does not fit the encoder in {encoder} ({error}); provide both anew.") from error
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return model.eval().to(device)


def _column(clips: ScoredClips, name: str) -> list[float] | None:
    """Return the published values of that name, if they were given."""
    column = clips.resources.columns.get(name)
    if column is None:
        return None
    if len(column) != len(clips.ids):
        raise DataError(f"Column '{name}' has {len(column)} values for {len(clips.ids)} clips; give one a clip.")
    return [float(value) for value in column]


def compute_error_probability(clips: ScoredClips) -> MetricValues:
    """Return the probability of an error in fluency: the column given, or what the detector says."""
    given = _column(clips, "error_probability")
    values = given if given is not None else error_probabilities(clips.captions, clips.resources.assets)
    definition: dict[str, JsonValue] = {"detector": "given" if given is not None else DETECTOR, "longest": LONGEST}
    return _mean_of_clips("error_probability", values, definition, given is None)


def compute_fluency_error_rate(clips: ScoredClips) -> MetricValues:
    """Return the share of captions that the detector holds for faulty."""
    values = [float(value > THRESHOLD) for value in clips.part("error_probability")]
    return _mean_of_clips("fer", values, {"threshold": THRESHOLD}, False)


def compute_sentence_similarity(clips: ScoredClips) -> MetricValues:
    """Return the similarity of sentence embeddings: the column given, or what the encoder says."""
    given = _column(clips, "sbert_sim")
    if given is not None:
        return _mean_of_clips("sbert_sim", given, {"encoder": "given"}, False)
    values = sentence_similarities(clips.captions, clips.references, clips.resources.assets)
    return _mean_of_clips("sbert_sim", values, {"encoder": SENTENCE_ENCODER}, True)


def compute_fense(clips: ScoredClips) -> MetricValues:
    """Return the similarity of sentence embeddings, cut to a tenth where fluency is faulty."""
    pairs = zip(clips.part("sbert_sim"), clips.part("error_probability"), strict=True)
    values = [similarity * (1 - PENALTY * (probability > THRESHOLD)) for similarity, probability in pairs]
    return _mean_of_clips("fense", values, {"threshold": THRESHOLD, "penalty": PENALTY}, False)


def _mean_of_clips(
    name: str, values: Sequence[float], definition: Mapping[str, JsonValue], computed_here: bool
) -> MetricValues:
    from importlib.metadata import version

    return MetricValues(
        corpus={name: sum(values) / len(values)},
        denominator={name: len(values)},
        per_clip={name: list(values)},
        definition={name: {**definition, "over": "clips"}},
        tools={tool: version(tool) for tool in ("aac-metrics", "transformers", "torch")} if computed_here else {},
    )


ERROR_PROBABILITY = Metric(
    "error_probability", "probability of an error in fluency, by FENSE's detector", compute_error_probability
)
FLUENCY_ERROR_RATE = Metric("fer", "share of captions with an error in fluency", compute_fluency_error_rate)
SENTENCE_SIMILARITY = Metric("sbert_sim", "similarity of sentence embeddings", compute_sentence_similarity)
FENSE = Metric("fense", "similarity of sentence embeddings, penalised where fluency is faulty", compute_fense)
