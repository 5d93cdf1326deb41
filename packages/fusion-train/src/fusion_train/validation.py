"""How weights are judged on val during training, by captions: greedy, shared out over the processes, scored once.

Scores of shares are never averaged: CIDEr-D weighs n-grams by all clips that are scored together.
"""

from __future__ import annotations

from collections.abc import Sequence

from accelerate import Accelerator
from accelerate.utils import gather_object
from fusion_eval.metrics.cider_d import CiderD
from fusion_eval.tokenize import tokenize_all

from fusion_train.captioner import Captioner
from fusion_train.config import DecodingSettings
from fusion_train.examples import CaptionedClip, FeatureLookup
from fusion_train.judging import Validation
from fusion_train.modalities import ModalLookup


def make_validation(
    captioner: Captioner,
    clips: Sequence[CaptionedClip],
    features: FeatureLookup | ModalLookup,
    decoding: DecodingSettings,
    accelerator: Accelerator,
) -> Validation:
    """Judge by CIDEr-D of the clips, captioned greedily."""
    greedy: DecodingSettings = decoding.model_copy(update={"beams": 1, "batch": 64})
    metric = CiderD([tokenize_all(clip.references) for clip in clips])
    mine = range(accelerator.process_index, len(clips), accelerator.num_processes)

    def evaluate() -> float:
        found = captioner.caption_all([clips[index].sha256 for index in mine], features, greedy)
        captions = dict(gather_object([(index, one[0].text) for index, one in zip(mine, found, strict=True)]))
        return float(metric.score(tokenize_all(captions[index] for index in range(len(clips)))).mean())

    return Validation(evaluate)
