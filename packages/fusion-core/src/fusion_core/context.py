"""What a fusion system gives to one call of the backbone.

The modality is bound to a call, never to a module: the context travels as the keyword argument ``fusion`` of the decoder,
and the hook of each block hands the residual stream to it. So two calls, two systems or two threads cannot mix.

Shapes: B batch (times beams), S text positions of this call, D backbone width.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class FusionContext(Protocol):
    """A modality that is bound to one call."""

    def enter_block(self, block: int, h_BSD: Tensor) -> Tensor:
        """Return the residual stream with which the block is entered.

        ``block`` counts from 0. A context that adds nothing there returns ``h_BSD`` itself.
        """
        ...


def expand_to_beams(x_B: Tensor, batch: int) -> Tensor:
    """Repeat each clip's row for its beams, so that ``x_B`` has ``batch`` rows.

    Beams of one clip are neighbours (clip 0's beams first), as in every beam search of transformers.

    Raises:
        ValueError: ``batch`` is no multiple of the number of clips.
    """
    clips = x_B.shape[0]
    if clips == batch:
        return x_B
    if clips == 0 or batch % clips:
        raise ValueError(f"{batch} sequences cannot be shared out over {clips} clips")
    return x_B.repeat_interleave(batch // clips, dim=0)
