"""The statistics of the training split by which audio tokens are standardised.

Shapes: N tokens of all clips, A encoder width.
"""

from __future__ import annotations

import torch
from fusion_core.systems.base import FusionSystem

from fusion_train.examples import TrainingExamples


def fit_statistics(system: FusionSystem, examples: TrainingExamples, chunk: int = 64) -> None:
    """Measure mean and deviation of the resampled training frames and keep them in the system's projector, if it has one."""
    projector = system.projector
    if projector is None:
        return
    tokens = []
    device = projector.mean_A.device
    for start in range(0, len(examples.clips), chunk):
        features = examples.frames(range(start, min(start + chunk, len(examples.clips)))).to(device)
        tokens.append(projector.resample(features.x_BTA, features.mask_BT).flatten(0, 1))
    everything_NA = torch.cat(tokens)
    projector.set_statistics(everything_NA.mean(dim=0), everything_NA.std(dim=0))
