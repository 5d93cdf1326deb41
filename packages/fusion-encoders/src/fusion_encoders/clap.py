"""CLAP: frames of a frozen audio tower, texts of a frozen text tower, and both in one space.

Y. Wu et al., "Large-Scale Contrastive Language-Audio Pretraining with Feature Fusion and Keyword-to-Caption Augmentation",
ICASSP 2023. Weights: LAION's, by transformers' classes or by ``laion-clap`` (``clap_towers`` says where they are looked for). The
same file always gives the same features: nothing is cropped at random (``clap_listening``).

The features of a clip are 32 frames for every window of 10 s. Their mean over a window is what CLAP pools, so one feature cache
serves the captioner (frames) and the similarity (pooled and projected).

Shapes: S samples, T frames, A encoder width, B clips, N texts, E width of the shared space.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fusion_encoders.audio import RESAMPLING
from fusion_encoders.base import FeatureSequence, FrozenEncoder, sha256_of_settings
from fusion_encoders.clap_listening import SAMPLE_RATE
from fusion_encoders.clap_towers import (
    FRAMES_A_WINDOW,
    FUSED,
    MOST_TOKENS,
    UNFUSED,
    ClapAudioTower,
    ClapTextTower,
    embed_texts,
    find_weights,
    project_frames,
)
from fusion_encoders.similarity import AudioTextSimilarity
from fusion_encoders.text import FrozenTextEncoder


class ClapEncoder(FrozenEncoder):
    """The audio tower of CLAP: 32 frames for every 10 s of mono audio at 48 kHz, 768 wide with LAION's usual checkpoints.

    Args:
        source: a folder of transformers, a checkpoint file of LAION, or a repository in the hub's cache; by default what
            ``FUSION_CLAP`` names, or the hub's ``laion/clap-htsat-unfused``.

    Raises:
        MissingAssetError: the weights are not on this machine.
        DataError: the checkpoint is damaged or another model's.
    """

    name = "clap"
    width = 768
    repository = UNFUSED
    sample_rate = SAMPLE_RATE

    def __init__(self, source: str | None = None) -> None:
        self._weights = find_weights(source, self.repository)
        self.weights_sha256 = self._weights.sha256
        facts = self._weights.facts()
        self.width = facts.width
        self.preprocessing_sha256 = sha256_of_settings(
            {"mel": facts.mel.as_dict(), "frames": FRAMES_A_WINDOW, "dtype": "float32", "resampling": RESAMPLING}
        )

    @property
    def path(self) -> Path:
        """Where the weights lie."""
        return self._weights.path

    def __getstate__(self) -> dict[str, Any]:
        """Leave the network behind: another process loads its own."""
        return {name: value for name, value in vars(self).items() if name != "tower"}

    @cached_property
    def tower(self) -> ClapAudioTower:
        """The network, loaded when it is first needed."""
        return self._weights.audio_tower()

    def encode(self, waveform_S: Tensor) -> Tensor:
        """Return the frames x_TA (float32) of a mono waveform at 48 kHz; T = 32 for each window."""
        return self.tower.frames(waveform_S).flatten(0, 1).contiguous()

    def pooled(self, x_TA: Tensor) -> Tensor:
        """Return the unit vector e_E of a clip, given its frames."""
        return project_frames(self.tower, x_TA)


class FusedClapEncoder(ClapEncoder):
    """The same with feature fusion, which reads a clip of any length at once; by default ``laion/clap-htsat-fused``."""

    name = "clap-fused"
    repository = FUSED


class ClapTextEncoder(FrozenTextEncoder):
    """The text tower of CLAP: unit vectors in the space that it shares with the audio tower.

    Args:
        source: see :class:`ClapEncoder`.

    Raises:
        MissingAssetError: the weights or the tokenizer are not on this machine.
        DataError: the checkpoint is damaged or another model's.
    """

    name = "clap"

    def __init__(self, source: str | None = None) -> None:
        self._weights = find_weights(source)
        self.weights_sha256 = self._weights.sha256
        self.width = self._weights.facts().shared_width
        self.preprocessing_sha256 = sha256_of_settings({"most_tokens": MOST_TOKENS, "dtype": "float32"})

    @cached_property
    def _tower(self) -> ClapTextTower:
        return self._weights.text_tower()

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Return the embeddings t_NE of texts."""
        return embed_texts(self._tower, texts, self.width)


class ClapSimilarity(AudioTextSimilarity):
    """How well a text fits a sound, by CLAP: for the reranker and as the target of the contrastive loss.

    Args:
        source: see :class:`ClapEncoder`.
        encoder: the encoder whose features are at hand, where there is one already.
    """

    name = "clap"
    encoder_type: type[ClapEncoder] = ClapEncoder

    def __init__(self, source: str | None = None, encoder: ClapEncoder | None = None) -> None:
        self.encoder: ClapEncoder = encoder or self.encoder_type(source)
        self._texts = ClapTextEncoder(str(self.encoder.path))
        self.width = self._texts.width

    def embed_audio(self, features: FeatureSequence) -> Tensor:
        """Return the unit vectors e_BE of clips, given by their frames."""
        on_cpu = features.to("cpu")
        return torch.stack(
            [self.encoder.pooled(x_TA[mask_T]) for x_TA, mask_T in zip(on_cpu.x_BTA, on_cpu.mask_BT, strict=True)]
        )

    def embed_text(self, texts: Sequence[str]) -> Tensor:
        """Return the unit vectors e_BE of texts."""
        return self._texts.encode(texts)

    def fingerprint(self) -> str:
        """Return one SHA-256 for both towers."""
        towers = {"audio": self.encoder.fingerprint(), "text": self._texts.fingerprint()}
        return sha256_of_settings({"name": self.name, **towers})


class FusedClapSimilarity(ClapSimilarity):
    """The same with the towers of ``clap-fused``."""

    name = "clap-fused"
    encoder_type = FusedClapEncoder
