"""Keys and values while beams run: what was read before them is written once, what they say is reordered alone.

A growing cache is copied whole at each token, and again whenever beams change places. Here a layer has room for the longest
caption from the start, so a token is written where it belongs; and since beams change places within a clip, where what came
before them is the same, only their own tokens move.

Shapes: R rows (clips times beams), K heads of keys and values, T positions, E width of a head.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import Cache, DynamicCache, DynamicLayer

SHARE_THAT_LEAVES = 0.25
"""What is done is computed further until it is so much of the batch."""


class _BeamLayer(DynamicLayer):  # type: ignore[misc]  # transformers is not typed here
    """One layer: a buffer with room, of which ``keys`` and ``values`` are the part that is written."""

    def __init__(self, key_BKTE: Tensor, value_BKTE: Tensor, beams: int, room: int) -> None:
        super().__init__()
        self.dtype, self.device = key_BKTE.dtype, key_BKTE.device
        self.shared = self.written = key_BKTE.shape[2]
        self._buffers = [_with_room(states, beams, room) for states in (key_BKTE, value_BKTE)]
        self.is_initialized = True
        self._show()

    def _show(self) -> None:
        self.keys, self.values = (buffer_RKTE[:, :, : self.written] for buffer_RKTE in self._buffers)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write what this call has computed; return all that is written."""
        start, self.written = self.written, self.written + key_states.shape[2]
        for buffer_RKTE, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer_RKTE[:, :, start : self.written] = states
        self._show()
        return self.keys, self.values

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Let rows take the tokens of others of their clip."""
        for buffer_RKTE in self._buffers:
            own_RKTE = buffer_RKTE[:, :, self.shared : self.written]
            own_RKTE.copy_(own_RKTE.index_select(0, beam_idx))

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep some rows, whole clips of them."""
        self._buffers = [buffer_RKTE.index_select(0, indices) for buffer_RKTE in self._buffers]
        self._show()


def beam_cache(read: DynamicCache, beams: int, room: int) -> Cache:
    """Return the cache of a search.

    Args:
        read: what was read before the search, a row a clip.
        beams: rows that each clip becomes, side by side.
        room: tokens that may follow.
    """
    if any(type(layer) is not DynamicLayer for layer in read.layers):
        read.batch_repeat_interleave(beams)  # layers of another kind, such as a sliding window, keep their own ways
        return read
    return Cache(layers=[_BeamLayer(layer.keys, layer.values, beams, room) for layer in read.layers])


def _with_room(states_BKTE: Tensor, beams: int, room: int) -> Tensor:
    clips, heads, length, width = states_BKTE.shape
    buffer = states_BKTE.new_empty((clips, beams, heads, length + room, width))
    buffer[..., :length, :] = states_BKTE[:, None]
    return buffer.view(clips * beams, heads, length + room, width)
