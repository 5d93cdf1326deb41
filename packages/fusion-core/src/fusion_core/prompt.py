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
    """

    text: str
    ids: tuple[int, ...]
    slots: tuple[int, ...] = ()

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
