"""The part of the prompt that is read without audio: once for all clips, its keys and values shared by them.

Shapes: B batch, S text positions.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache

from fusion_core.backbone import Backbone
from fusion_core.prompt import Prompt


class PromptHead:
    """Reads the head of a prompt and hands its keys and values to batches of any size.

    Args:
        backbone: the model.
        prompt: the prompt; its head is read.
        frozen: whether the backbone computes the same at every call, so that reading once is enough. If not (a system trains
            weights of the backbone) the head is read at each call, with gradients where they are recorded.
    """

    def __init__(self, backbone: Backbone, prompt: Prompt, frozen: bool) -> None:
        self.backbone = backbone
        self.prompt = prompt
        self.frozen = frozen
        self._kept: DynamicCache | None = None

    def past(self, batch: int) -> Any:
        """Return a cache for ``batch`` rows, which the call that follows may extend; None where the prompt has no head."""
        if not self.prompt.head:
            return None
        rows = [(keys.expand(batch, -1, -1, -1), values.expand(batch, -1, -1, -1)) for keys, values, *_ in self._read()]
        return DynamicCache(rows, config=self.backbone.decoder.config)

    def _read(self) -> DynamicCache:
        if self._kept is not None:
            return self._kept
        cache = DynamicCache(config=self.backbone.decoder.config)
        ids_BS = torch.tensor([self.prompt.head], device=self.backbone.device)
        if not self.frozen:
            self.backbone.hidden(ids_BS, cache=cache)
            return cache
        with torch.inference_mode(False), torch.no_grad():  # what decoding has read first, training uses too
            self.backbone.hidden(ids_BS, cache=cache)
        self._kept = cache
        return cache
