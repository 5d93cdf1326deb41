"""Captions of clips with a trained system: features in, candidates out.

Shapes: B clips, T frames, A encoder width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from fusion_core.backbone import Backbone
from fusion_core.prompt import Prompt
from fusion_core.systems.base import FusionSystem

from fusion_train.config import DecodingSettings
from fusion_train.examples import FeatureLookup, Features, bind_features, gather_features
from fusion_train.generate import Hypothesis, generate
from fusion_train.modalities import ModalLookup
from fusion_train.reading import prompt_head


@dataclass(frozen=True)
class CaptionCandidate:
    """A decoded caption with the log-probability of its tokens."""

    text: str
    logprob: float


class Captioner:
    """A frozen backbone with a trained system, ready to caption.

    Args:
        backbone: the frozen model.
        system: the trained system.
        prompt: the prompt that the system was trained with.
    """

    def __init__(self, backbone: Backbone, system: FusionSystem, prompt: Prompt) -> None:
        self.backbone = backbone
        self.system = system
        self.prompt = prompt
        self.head = prompt_head(backbone, system, prompt)

    @torch.inference_mode()
    def caption(self, features: Features, settings: DecodingSettings) -> list[list[CaptionCandidate]]:
        """Caption a batch of clips: each clip's candidates, best first."""
        self.system.eval()
        self.backbone.model.eval()
        features = features.to(self.backbone.device)
        context = bind_features(self.system, features, self.prompt.slot_index())
        clips = len(features)
        prompt_BS = torch.tensor([self.prompt.rest] * clips, device=self.backbone.device)
        past = None if self.head is None else self.head.past(clips)
        return [self._texts(found) for found in generate(self.backbone, prompt_BS, settings, context, past=past)]

    def caption_without_audio(self, settings: DecodingSettings) -> list[CaptionCandidate]:
        """Return what the backbone says with no audio bound; it is the same for every clip."""
        prompt_BS = torch.tensor([self.prompt.ids], device=self.backbone.device)
        return self._texts(generate(self.backbone, prompt_BS, settings)[0])

    def caption_all(
        self,
        hashes: Sequence[str],
        features: FeatureLookup | ModalLookup,
        settings: DecodingSettings,
        on_batch: Callable[[int], None] | None = None,
    ) -> list[list[CaptionCandidate]]:
        """Caption many clips in batches.

        Args:
            hashes: the clips' file hashes.
            features: x_TA by hash.
            settings: decoding, batch size among them.
            on_batch: called with the number of clips just done, for a progress bar.
        """
        captions: list[list[CaptionCandidate]] = []
        for start in range(0, len(hashes), settings.batch):
            part = hashes[start : start + settings.batch]
            clips = features.gather(part) if isinstance(features, ModalLookup) else gather_features(part, features)
            captions += self.caption(clips, settings)
            if on_batch is not None:
                on_batch(len(part))
        return captions

    def _texts(self, found: list[Hypothesis]) -> list[CaptionCandidate]:
        decode = self.backbone.tokenizer.decode
        return [
            CaptionCandidate(" ".join(decode(list(one.ids), skip_special_tokens=True).split()), one.logprob)
            for one in found
        ]
