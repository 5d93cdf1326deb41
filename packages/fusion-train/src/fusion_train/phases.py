"""The phases of a training: cross-entropy with its additions, then self-critical training from the best of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fusion_encoders.registry import load_text_encoder
from fusion_encoders.text import TextCache

from fusion_train.config import RunSettings, ScheduleSettings
from fusion_train.judging import Validation
from fusion_train.learner import Learner
from fusion_train.loop import Trainer
from fusion_train.objectives.base import Objective
from fusion_train.objectives.contrastive import Contrastive
from fusion_train.objectives.scst import SelfCritical
from fusion_train.objectives.xe import CrossEntropy


def cross_entropy_phase(
    learner: Learner,
    validation: Validation,
    settings: RunSettings,
    folder: Path,
    additions: Sequence[Objective] = (),
    trackers: Sequence[str] = (),
) -> Trainer:
    """Return the trainer of the first phase.

    Args:
        learner: what learns.
        validation: judges the weights on val.
        settings: the run's settings.
        folder: the run directory.
        additions: further losses, such as the contrastive one.
        trackers: where the log's values go too.
    """
    objective = CrossEntropy(learner, settings.optimiser.residual_alignment)
    return Trainer(learner, [objective, *additions], validation, settings, folder, trackers=trackers)


def contrastive_addition(learner: Learner, settings: RunSettings) -> list[Objective]:
    """Return the contrastive loss where the settings give it a weight.

    Raises:
        ConfigError: the system hears nothing.
        MissingAssetError: the text encoder is not installed.
    """
    if not settings.contrastive.weight:
        return []
    texts = TextCache(load_text_encoder(settings.contrastive.text_encoder))
    return [Contrastive(learner, settings.contrastive, texts.embed, texts.encoder.width)]


def self_critical_phase(
    learner: Learner, validation: Validation, settings: RunSettings, folder: Path, trackers: Sequence[str] = ()
) -> Trainer:
    """Return the trainer of the second phase; the learner's system holds the best weights of the first."""
    scst = settings.scst
    objective = SelfCritical(learner, scst, settings.decoding.max_new_tokens, settings.seed)
    schedule = ScheduleSettings(steps=scst.steps, warmup=scst.warmup)
    return Trainer(learner, [objective], validation, settings, folder, schedule, scst.rate, trackers)
