"""A frozen decoder cut in two at a block: what lies below sees text alone and need not be run again for the same text.

Both halves share the blocks of the backbone; nothing is copied. Whether the architecture can be entered in the middle is not
believed but tried, on the prompt.

Shapes: B batch, S text positions, D width.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from fusion_core.backbone import Backbone, ResidualRecorder, position_ids
from fusion_core.context import FusionContext
from fusion_core.errors import ConfigError


class SplitDecoder:
    """The blocks of a backbone below a block, and those from it up.

    Args:
        backbone: the frozen model.
        block: the first block of the upper half, from 1.

    Raises:
        ConfigError: there is no such block, or the architecture computes something else when it is entered there.
    """

    def __init__(self, backbone: Backbone, block: int) -> None:
        if not 0 < block < backbone.depth:
            raise ConfigError(f"A decoder of {backbone.depth} blocks cannot be cut at block {block}.")
        self.backbone = backbone
        self.block = block
        # The entrance of a block is where its hook reads the stream, so the lower half has that block too.
        self._below = _with_blocks(backbone, slice(0, block + 1))
        self._above = _with_blocks(backbone, slice(block, None))
        self._verify()

    @torch.no_grad()
    def stream(self, ids_BS: Tensor, mask_BS: Tensor | None = None, cache: Any = None) -> Tensor:
        """Return the residual stream at the entrance of the block, h_BSD.

        Args:
            ids_BS: token ids.
            mask_BS: 1 where a token is real, over cached and new positions.
            cache: a transformers ``Cache`` with the keys and values of what stands before, which the call extends; or None.
        """
        recorder = ResidualRecorder((self.block,))
        self._below(
            input_ids=ids_BS,
            attention_mask=mask_BS,
            position_ids=position_ids(mask_BS, ids_BS.shape[1]),
            past_key_values=cache,
            use_cache=cache is not None,
            fusion=recorder,
        )
        return recorder.streams[self.block]

    def hidden(
        self, h_BSD: Tensor, mask_BS: Tensor | None = None, fusion: FusionContext | None = None, cache: Any = None
    ) -> Tensor:
        """Run the upper half and return the last hidden state after the final norm, as ``Backbone.hidden`` does.

        Args:
            h_BSD: the stream at the entrance of the block.
            mask_BS: 1 where a token is real, over cached and new positions.
            fusion: the modality bound to this call, or None.
            cache: keys and values of what stands before, of all blocks of the decoder; or None.
        """
        keywords: dict[str, Any] = {} if fusion is None else {"fusion": fusion}
        output = self._above(
            inputs_embeds=h_BSD,
            attention_mask=mask_BS,
            position_ids=position_ids(mask_BS, h_BSD.shape[1]),
            past_key_values=cache,
            use_cache=cache is not None,
            **keywords,
        )
        hidden: Tensor = output.last_hidden_state
        return hidden

    @torch.no_grad()
    def _verify(self) -> None:
        if self.backbone.device.type == "meta":
            return
        kinds = set(getattr(self.backbone.decoder.config, "layer_types", None) or ())
        ids_BS = torch.tensor([self.backbone.prompt().ids], device=self.backbone.device)
        same = len(kinds) < 2 and torch.allclose(
            self.hidden(self.stream(ids_BS)), self.backbone.hidden(ids_BS), rtol=1e-3, atol=1e-5
        )
        if not same:
            raise ConfigError(
                f"{self.backbone.identity.name}: its decoder cannot be entered at block {self.block}; "
                "train without the frozen prefix (--set frozen_prefix=false)."
            )


def _with_blocks(backbone: Backbone, chosen: slice) -> nn.Module:
    """Return the decoder with some of its blocks only; everything is shared with the backbone's own."""
    half: Any = copy.copy(backbone.decoder)
    half.__dict__["_modules"] = dict(backbone.decoder._modules)
    half.layers = backbone.blocks[chosen]
    decoder: nn.Module = half
    return decoder
