"""CLAP by transformers' classes, from a folder in transformers' layout.

Shapes: S samples, W windows, T frames a window, A encoder width, B clips or texts, E width of the shared space, L tokens.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fusion_encoders.clap_listening import ClapMel, even_windows, fused_views, log_mel
from fusion_encoders.clap_towers import ClapFacts


def folder_facts(folder: Path) -> ClapFacts:
    """Return what the configuration and the preprocessing of a folder say."""
    from transformers import ClapConfig

    config = ClapConfig.from_pretrained(folder, local_files_only=True)
    preprocessing = folder / "preprocessor_config.json"
    found = json.loads(preprocessing.read_text(encoding="utf-8")) if preprocessing.is_file() else {}
    default = ClapMel()
    low, high = found.get("frequency_min", default.low), found.get("frequency_max", default.high)
    mel = ClapMel(bool(config.audio_config.enable_fusion), float(low), float(high))
    return ClapFacts(mel, int(config.audio_config.hidden_size), int(config.projection_dim))


class TransformersAudioTower:
    """``ClapAudioModelWithProjection``; the text tower is not loaded."""

    def __init__(self, folder: Path) -> None:
        from transformers import ClapAudioModelWithProjection

        self._model = _load(ClapAudioModelWithProjection, folder)
        self._mel = folder_facts(folder).mel

    @torch.no_grad()
    def frames(self, waveform_S: Tensor) -> Tensor:
        """Return the frames x_WTA of each window, the mean over the frequencies of the last block."""
        if self._mel.fused:
            mel_WCNM, longer_W = fused_views(waveform_S, self._mel)
        else:
            mel_WCNM = log_mel(even_windows(waveform_S), self._mel)[:, None]
            longer_W = torch.zeros(len(mel_WCNM), dtype=torch.bool)
        states_WAFT: Tensor = self._model.audio_model(mel_WCNM, is_longer=longer_W[:, None]).last_hidden_state
        return states_WAFT.mean(dim=2).transpose(1, 2)

    @torch.no_grad()
    def project(self, pooled_BA: Tensor) -> Tensor:
        """Return the vectors e_BE of pooled windows."""
        projected_BE: Tensor = self._model.audio_projection(pooled_BA)
        return projected_BE


class TransformersTextTower:
    """``ClapTextModelWithProjection`` and its tokenizer; the audio tower is not loaded."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer, ClapTextModelWithProjection

        self._model = _load(ClapTextModelWithProjection, folder)
        self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)

    @torch.no_grad()
    def embed(self, ids_BL: Tensor) -> Tensor:
        """Return the vectors e_BE of texts."""
        embedded_BE: Tensor = self._model(input_ids=ids_BL, attention_mask=torch.ones_like(ids_BL)).text_embeds
        return embedded_BE


def _load(model_type: Any, folder: Path) -> Any:
    """Load one tower in float32; a ``.bin`` is unpickled with ``weights_only``. The other tower's weights are no fault."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        model = model_type.from_pretrained(folder, dtype=torch.float32, local_files_only=True, weights_only=True)
    finally:
        logging.set_verbosity(verbosity)
    return model.eval().requires_grad_(False)
