"""What a fusion system gives to one call of the backbone.

The modality is bound to a call, never to a module: the context travels as the keyword argument ``fusion`` of the decoder,
and the hook of each block hands the residual stream to it. So two calls, two systems or two threads cannot mix.

Shapes: B batch (times beams), S text positions of this call, D backbone width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
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


def group_by_clip(x_BSX: Tensor, clips: int) -> Tensor:
    """Put the rows of a clip's beams one after another, x_CNX with N beams times S: for what is computed once a clip.

    Raises:
        ValueError: the number of rows is no multiple of ``clips``.
    """
    rows = x_BSX.shape[0]
    if clips == 0 or rows % clips:
        raise ValueError(f"{rows} sequences cannot be shared out over {clips} clips")
    return x_BSX.reshape(clips, -1, x_BSX.shape[-1])


class Unheard:
    """The context of a system without an audio path: it adds nothing anywhere."""

    def enter_block(self, block: int, h_BSD: Tensor) -> Tensor:
        """Return the stream as it is."""
        return h_BSD


class HeardFrom:
    """Lets another context act from a position on, in a call that reads the prompt and what follows it at once.

    Args:
        context: what acts.
        start: the first position that hears.
    """

    def __init__(self, context: FusionContext, start: int) -> None:
        self.context = context
        self.start = start

    def enter_block(self, block: int, h_BSD: Tensor) -> Tensor:
        """Hand on the positions that hear; leave the others as they are."""
        rest_BSD = h_BSD[:, self.start :]
        result_BSD = self.context.enter_block(block, rest_BSD)
        if result_BSD is rest_BSD:
            return h_BSD
        return torch.cat([h_BSD[:, : self.start], result_BSD], dim=1)


class Together:
    """Several modalities in one call, one after another: each reads the stream as those before it have left it.

    Args:
        contexts: what each of them adds.
    """

    def __init__(self, contexts: Sequence[FusionContext]) -> None:
        self.contexts = tuple(contexts)

    def enter_block(self, block: int, h_BSD: Tensor) -> Tensor:
        """Let each of them act."""
        for context in self.contexts:
            h_BSD = context.enter_block(block, h_BSD)
        return h_BSD


class SomeClips:
    """Lets another context act on some clips of a call; the rows of the others are left as they are.

    Args:
        context: what acts; it is bound to those clips alone.
        present_B: True for each clip of the call that it is bound to.
    """

    def __init__(self, context: FusionContext, present_B: Tensor) -> None:
        self.context = context
        self.present_B = present_B

    def enter_block(self, block: int, h_BSD: Tensor) -> Tensor:
        """Hand on the rows of the clips that are there."""
        rows_B = expand_to_beams(self.present_B.to(h_BSD.device), h_BSD.shape[0])
        some_BSD = h_BSD[rows_B]
        result_BSD = self.context.enter_block(block, some_BSD)
        if result_BSD is some_BSD:
            return h_BSD
        whole_BSD = h_BSD.clone()
        whole_BSD[rows_B] = result_BSD
        return whole_BSD


class RowsLeft:
    """Lets a context that is bound to many rows act on those of them that are left, once a search has let others go.

    Args:
        context: what acts.
        rows_R: the places of the rows that are left.
        batch: how many rows there were.
    """

    def __init__(self, context: FusionContext, rows_R: Tensor, batch: int) -> None:
        self.context = context
        self.rows_R = rows_R
        self.batch = batch

    def enter_block(self, block: int, h_BSD: Tensor) -> Tensor:
        """Hand on the rows in their places, those that are gone as 0."""
        whole_BSD = h_BSD.new_zeros((self.batch, *h_BSD.shape[1:])).index_copy_(0, self.rows_R, h_BSD)
        result_BSD = self.context.enter_block(block, whole_BSD)
        return h_BSD if result_BSD is whole_BSD else result_BSD.index_select(0, self.rows_R)


class ResidualAlignment:
    """Measures how far another context turns the stream at its sites: 1 − cos(stream after, stream before), with gradients.

    Args:
        context: the context that is watched.
    """

    def __init__(self, context: FusionContext) -> None:
        self.context = context
        self._turned: list[Tensor] = []

    def enter_block(self, block: int, h_BSD: Tensor) -> Tensor:
        """Let the context act, and keep the mean over the positions that it acted on."""
        result_BSD = self.context.enter_block(block, h_BSD)
        if result_BSD is not h_BSD:
            cosine_BS = torch.cosine_similarity(result_BSD.float(), h_BSD.float(), dim=-1)
            acted_BS = h_BSD.abs().sum(dim=-1) > 0  # padding of a frozen prefix is 0
            self._turned.append(((1 - cosine_BS) * acted_BS).sum() / acted_BS.sum().clamp_min(1))
        return result_BSD

    def penalty(self) -> Tensor:
        """Return the mean over the sites; 0 where nothing acted."""
        return torch.stack(self._turned).mean() if self._turned else torch.zeros(())


class AdditionMeter:
    """Measures ‖addition‖/‖stream‖ at each block that another context adds to; what is computed stays the same.

    Args:
        context: the context that is measured.
        mask_BS: 1 at the positions that count; None for all.
    """

    def __init__(self, context: FusionContext, mask_BS: Tensor | None = None) -> None:
        self.context = context
        self.mask_BS = mask_BS
        self._ratios: dict[int, Tensor] = {}

    def enter_block(self, block: int, h_BSD: Tensor) -> Tensor:
        """Let the context add, and keep the median ratio over the positions that it adds to."""
        result_BSD = self.context.enter_block(block, h_BSD)
        if result_BSD is not h_BSD:
            with torch.no_grad():
                stream_BSD = h_BSD.float()
                added_BS = torch.linalg.vector_norm(result_BSD.float() - stream_BSD, dim=-1)
                ratio_BS = added_BS / torch.linalg.vector_norm(stream_BSD, dim=-1).clamp_min(1e-12)
                counted_BS = added_BS > 0 if self.mask_BS is None else (added_BS > 0) & self.mask_BS.bool()
                if counted_BS.any():
                    self._ratios[block] = ratio_BS[counted_BS].median()
        return result_BSD

    def ratios(self) -> dict[int, float]:
        """Return the ratio by block."""
        return {block: float(ratio) for block, ratio in self._ratios.items()}
