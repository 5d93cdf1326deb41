"""The files that the stages of the project exchange; ``python -m fusion_eval.schemas`` writes their JSON Schemas."""

from __future__ import annotations

from fusion_eval.schemas.base import Record, Schema
from fusion_eval.schemas.events import SceneEvent, SceneEvents, SceneItem
from fusion_eval.schemas.manifest import ManifestRow, counts_by_status, read_manifest, write_manifest
from fusion_eval.schemas.predictions import Candidate, PredictionItem, Predictions
from fusion_eval.schemas.references import ReferenceItem, References
from fusion_eval.schemas.run_card import RunCard
from fusion_eval.schemas.scores import ClipScores, Scores

__all__ = [
    "Candidate",
    "ClipScores",
    "ManifestRow",
    "PredictionItem",
    "Predictions",
    "Record",
    "ReferenceItem",
    "References",
    "RunCard",
    "SceneEvent",
    "SceneEvents",
    "SceneItem",
    "Schema",
    "Scores",
    "counts_by_status",
    "read_manifest",
    "write_manifest",
]
