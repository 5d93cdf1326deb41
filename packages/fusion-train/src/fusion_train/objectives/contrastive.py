"""The auxiliary contrastive loss: the mean audio token of a clip lies near the frozen text embeddings of its captions.

Symmetric InfoNCE (van den Oord et al., «Representation Learning with Contrastive Predictive Coding», 2018; Radford et al.,
CLIP, ICML 2021) between a linear map of the mean audio token and the frozen text embedding, with all captions of a clip as its
positives (Khosla et al., «Supervised Contrastive Learning», NeurIPS 2020):

    L = ½ [ −mean_b mean_{r∈P(b)} log softmax_r(a_b·t_r/τ)  −  mean_r log softmax_b(a_b·t_r/τ) ]

The whole effective batch is in one softmax, however it is split into forward passes and processes: no language model is needed.

Shapes: B clips, R captions of these clips, K audio tokens, P projector width, E text embedding width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from fusion_core.errors import ConfigError
from torch import Tensor, nn
from torch.nn import functional

from fusion_train.config import ContrastiveSettings
from fusion_train.learner import Learner, Pair

EmbedText = Callable[[list[str]], Tensor]


def contrastive_loss(audio_BE: Tensor, text_RE: Tensor, owner_R: Tensor, temperature: float) -> Tensor:
    """Return the symmetric, multi-positive InfoNCE of unit vectors.

    Args:
        audio_BE: a clip a row.
        text_RE: a caption a row.
        owner_R: the row in ``audio_BE`` of each caption's clip; every clip has a caption.
        temperature: τ.
    """
    logits_BR = audio_BE @ text_RE.T / temperature
    own_BR = owner_R[None] == torch.arange(len(audio_BE), device=owner_R.device)[:, None]
    to_text_BR = logits_BR.log_softmax(dim=1).masked_fill(~own_BR, 0.0)
    to_text = -(to_text_BR.sum(dim=1) / own_BR.sum(dim=1)).mean()
    return (to_text + functional.cross_entropy(logits_BR.T, owner_R)) / 2


class Contrastive:
    """The contrastive loss of an effective batch, with its linear head.

    Args:
        learner: what learns.
        settings: weight and temperature.
        embed_text: the frozen text encoder: texts to unit vectors of width ``width``.
        width: E.

    Raises:
        ConfigError: the system has no audio path.
    """

    name = "contrastive"

    def __init__(self, learner: Learner, settings: ContrastiveSettings, embed_text: EmbedText, width: int) -> None:
        projector = learner.system.projector
        if projector is None:
            raise ConfigError(f"The system {learner.system.name!r} hears nothing; set contrastive.weight=0 with it.")
        self.learner = learner
        self.settings = settings
        self.projector = projector
        self.module: nn.Module = nn.Linear(projector.norm.normalized_shape[0], width, bias=False).to(
            learner.backbone.device
        )
        captions = [list(clip.references) for clip in learner.examples.clips]
        embedded = embed_text([text for texts in captions for text in texts]).to(learner.backbone.device)
        self._text = torch.split(embedded, [len(texts) for texts in captions])

    def accumulate(self, pairs: Sequence[Pair], step: int) -> dict[str, float]:
        """Add the gradients of an effective batch and return the loss, unweighted."""
        learner = self.learner
        clips = [clip for clip, _ in pairs]
        features = learner.examples.frames(clips).to(learner.backbone.device)
        mean_BP = self.projector(features.x_BTA, features.mask_BT).mean(dim=1)
        audio_BE = functional.normalize(self.module(mean_BP), dim=-1)
        text = [self._text[clip] for clip in clips]
        owner_R = torch.arange(len(clips), device=audio_BE.device).repeat_interleave(
            torch.tensor([len(rows) for rows in text], device=audio_BE.device)
        )
        loss = contrastive_loss(audio_BE, torch.cat(text), owner_R, self.settings.temperature)
        # Every process computes the whole of it, so each adds its part of the sum.
        learner.backward(self.settings.weight * loss / learner.accelerator.num_processes)
        return {"contrastive": float(loss.detach())}
