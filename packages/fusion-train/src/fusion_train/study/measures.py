"""What a study measures on a finished run beside its scores: retention, and captions chosen by the reranker."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fusion_core.errors import ConfigError, MissingAssetError
from fusion_core.pretrained import BACKBONES
from fusion_eval.reranking import rerank
from fusion_eval.schemas import Predictions
from fusion_eval.scoring import score
from fusion_eval.tuning import tune_rerank

from fusion_train.datasets.base import PreparedDataset
from fusion_train.retention import Inquiry, RetentionMeasurement, choose_probe, write_retention
from fusion_train.retention_runs import SoundLibrary, read_run, shared_backbone
from fusion_train.study.config import RerankPlan, RetentionPlan

RERANKED = "reranked"
ORACLE = {"cider_d": "cider_d_max", "spider": "spider_max"}
EVENT_METRICS = ("event_f1", "order_accuracy", "count_accuracy")


def measure_retention(folders: Sequence[Path], plan: RetentionPlan) -> None:
    """Ask the backbone of some runs after training what it was asked before; write each run's ``retention.json``.

    What no run hears, such as the questions and their images, is read once for all of them.

    Raises:
        ConfigError: the runs differ in backbone or precision.
        MissingAssetError: the backbone that is to be asked is not on this machine, or not known.
    """
    if plan.backbone is not None and plan.backbone not in BACKBONES.names() and not Path(plan.backbone).is_dir():
        raise MissingAssetError(
            f"The backbone {plan.backbone} is not known here: fusion backbone build {plan.backbone}."
        )
    runs = [read_run(folder) for folder in folders]
    backbone = shared_backbone(runs, plan.backbone)
    probe = choose_probe(plan.probe, backbone).first(plan.items)
    conditions = tuple(name for name in plan.conditions if name != "blind" or probe.with_images().items)
    if plan.scoring.startswith("likelihood") and not all(item.options for item in probe.items):
        raise ConfigError(f"retention.scoring: {probe.name} has questions without options; take contains or exact.")
    inquiry = Inquiry(probe, conditions, plan.scoring, SoundLibrary())
    for folder, found in zip(folders, RetentionMeasurement(backbone, inquiry).measure(runs), strict=True):
        write_retention(folder, found)


def measure_rerank(folder: Path, dataset: PreparedDataset, plan: RerankPlan) -> Path:
    """Choose weights on val, rerank the test candidates, score them, and score the oracle apart, labelled as one.

    Raises:
        DataError: the run kept no candidates.
        MissingAssetError: SPIDEr is asked for and SPICE cannot be had.
    """
    predictions = folder / "predictions"
    val = Predictions.read(predictions / "val.json")
    weights = tune_rerank(val, dataset.references(val.split), plan.metric)
    weights.write(folder / "rerank_weights.json")
    before = Predictions.read(predictions / "audio.json")
    after = rerank(before, weights.weights)
    after.write(predictions / f"{RERANKED}.json")
    references, events = dataset.references(before.split), dataset.events(before.split)
    names = dict.fromkeys(("cider_d", plan.metric, *(EVENT_METRICS if events is not None else ())))
    scores = folder / "scores"
    score(after, references, metrics=tuple(names), events=events, allow_missing=True).write(scores / f"{RERANKED}.json")
    score(before, references, metrics=(ORACLE[plan.metric],), allow_missing=True).write(scores / "oracle.json")
    return folder / "rerank_weights.json"
