"""The prompt of a backbone: its own chat prompt, untouched, and where audio slots lie in it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Prompt:
    """Token ids of a prompt.

    Attributes:
        text: the text of the prompt, slots left out.
        ids: the token ids, slots included.
        slots: the positions in ``ids`` of the K placeholder tokens, in order; empty with broadcast placement.
        unheard: how many of the first tokens are read without audio, and so once for all clips.
    """

    text: str
    ids: tuple[int, ...]
    slots: tuple[int, ...] = ()
    unheard: int = 0

    @property
    def head(self) -> tuple[int, ...]:
        """The tokens that are read without audio."""
        return self.ids[: self.unheard]

    @property
    def rest(self) -> tuple[int, ...]:
        """The tokens that are read with audio."""
        return self.ids[self.unheard :]

    def slot_index(self, length: int | None = None) -> Tensor | None:
        """Return index_1S: which slot (0 to K-1) each position is, -1 for none; None where the prompt has no slots.

        Args:
            length: S, the prompt and what follows it; positions after the prompt are no slots.
        """
        if not self.slots:
            return None
        index_S = torch.full((length or len(self.ids),), -1, dtype=torch.long)
        index_S[list(self.slots)] = torch.arange(len(self.slots))
        return index_S[None]
