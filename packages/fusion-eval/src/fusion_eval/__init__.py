"""Caption metrics, file schemas and statistics, without torch. Public names load when they are first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fusion_eval.errors import ConfigError, DataError, FusionError, MissingAssetError
    from fusion_eval.metrics.cider_d import CiderD, cider_d
    from fusion_eval.metrics.document_frequency import DocumentFrequency
    from fusion_eval.metrics.mentions import Lexicon
    from fusion_eval.registry import load_metric, metric_names
    from fusion_eval.schemas.events import SceneEvents
    from fusion_eval.schemas.predictions import Predictions
    from fusion_eval.schemas.references import References
    from fusion_eval.schemas.run_card import RunCard
    from fusion_eval.schemas.scores import Scores
    from fusion_eval.scoring import score

_MODULES = {
    "CiderD": "metrics.cider_d",
    "ConfigError": "errors",
    "DataError": "errors",
    "DocumentFrequency": "metrics.document_frequency",
    "FusionError": "errors",
    "Lexicon": "metrics.mentions",
    "MissingAssetError": "errors",
    "Predictions": "schemas.predictions",
    "References": "schemas.references",
    "RunCard": "schemas.run_card",
    "SceneEvents": "schemas.events",
    "Scores": "schemas.scores",
    "cider_d": "metrics.cider_d",
    "load_metric": "registry",
    "metric_names": "registry",
    "score": "scoring",
}

__all__ = [
    "CiderD",
    "ConfigError",
    "DataError",
    "DocumentFrequency",
    "FusionError",
    "Lexicon",
    "MissingAssetError",
    "Predictions",
    "References",
    "RunCard",
    "SceneEvents",
    "Scores",
    "cider_d",
    "load_metric",
    "metric_names",
    "score",
]


def __getattr__(name: str) -> object:
    """Load a public name from its module."""
    if name not in _MODULES:
        raise AttributeError(f"module 'fusion_eval' has no attribute '{name}'")
    return getattr(import_module(f"fusion_eval.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
