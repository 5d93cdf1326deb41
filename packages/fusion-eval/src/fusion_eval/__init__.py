"""Caption metrics, file schemas and statistics, without torch. Public names load when they are first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fusion_eval.comparing import compare
    from fusion_eval.errors import ConfigError, DataError, FusionError, MissingAssetError
    from fusion_eval.metrics.base import Resources
    from fusion_eval.metrics.bleu import bleu
    from fusion_eval.metrics.cider_d import CiderD, cider_d
    from fusion_eval.metrics.diversity import self_bleu
    from fusion_eval.metrics.document_frequency import DocumentFrequency
    from fusion_eval.metrics.mentions import Lexicon
    from fusion_eval.metrics.meteor import Meteor, meteor
    from fusion_eval.metrics.rouge_l import rouge_l
    from fusion_eval.metrics.spice import spice
    from fusion_eval.metrics.spider import spider, spider_fl
    from fusion_eval.readers import Origin, read_predictions, read_references, read_together
    from fusion_eval.registry import load_metric, metric_names
    from fusion_eval.reranking import rerank
    from fusion_eval.schemas.comparison import Comparison
    from fusion_eval.schemas.events import SceneEvents
    from fusion_eval.schemas.predictions import Predictions
    from fusion_eval.schemas.references import References
    from fusion_eval.schemas.rerank import RerankWeights
    from fusion_eval.schemas.run_card import RunCard
    from fusion_eval.schemas.scores import Scores
    from fusion_eval.scoring import score
    from fusion_eval.tuning import tune_rerank

_MODULES = {
    "CiderD": "metrics.cider_d",
    "Comparison": "schemas.comparison",
    "ConfigError": "errors",
    "DataError": "errors",
    "DocumentFrequency": "metrics.document_frequency",
    "FusionError": "errors",
    "Lexicon": "metrics.mentions",
    "Meteor": "metrics.meteor",
    "MissingAssetError": "errors",
    "Origin": "readers",
    "Predictions": "schemas.predictions",
    "References": "schemas.references",
    "RerankWeights": "schemas.rerank",
    "Resources": "metrics.base",
    "RunCard": "schemas.run_card",
    "SceneEvents": "schemas.events",
    "Scores": "schemas.scores",
    "bleu": "metrics.bleu",
    "cider_d": "metrics.cider_d",
    "compare": "comparing",
    "load_metric": "registry",
    "meteor": "metrics.meteor",
    "metric_names": "registry",
    "read_predictions": "readers",
    "read_references": "readers",
    "read_together": "readers",
    "rerank": "reranking",
    "rouge_l": "metrics.rouge_l",
    "score": "scoring",
    "self_bleu": "metrics.diversity",
    "spice": "metrics.spice",
    "spider": "metrics.spider",
    "spider_fl": "metrics.spider",
    "tune_rerank": "tuning",
}

__all__ = [
    "CiderD",
    "Comparison",
    "ConfigError",
    "DataError",
    "DocumentFrequency",
    "FusionError",
    "Lexicon",
    "Meteor",
    "MissingAssetError",
    "Origin",
    "Predictions",
    "References",
    "RerankWeights",
    "Resources",
    "RunCard",
    "SceneEvents",
    "Scores",
    "bleu",
    "cider_d",
    "compare",
    "load_metric",
    "meteor",
    "metric_names",
    "read_predictions",
    "read_references",
    "read_together",
    "rerank",
    "rouge_l",
    "score",
    "self_bleu",
    "spice",
    "spider",
    "spider_fl",
    "tune_rerank",
]


def __getattr__(name: str) -> object:
    """Load a public name from its module."""
    if name not in _MODULES:
        raise AttributeError(f"module 'fusion_eval' has no attribute '{name}'")
    return getattr(import_module(f"fusion_eval.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
