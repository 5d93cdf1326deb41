"""Gates of the fusion systems: how large an addition is, and which audio token each text position takes.

Shapes: B batch, S text positions, K audio tokens, D backbone width.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Mixing = Literal["gated", "static"]


class ScalarGate(nn.Module):
    """The strength α of a site: the size of the addition relative to the residual stream, in fp32.

    Args:
        initial: α at the start.
    """

    def __init__(self, initial: float) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor(float(initial), dtype=torch.float32))

    @property
    def strength(self) -> Tensor:
        """α itself."""
        return self.alpha


class TanhGate(nn.Module):
    """The strength tanh(g) of a site, as Flamingo has it; 0 at the start unless told otherwise, in fp32.

    Args:
        initial: tanh(g) at the start, between -1 and 1.
    """

    def __init__(self, initial: float) -> None:
        super().__init__()
        self.opening = nn.Parameter(torch.tensor(math.atanh(initial), dtype=torch.float32))

    @property
    def strength(self) -> Tensor:
        """tanh(g)."""
        return self.opening.tanh()


class TokenGate(nn.Module):
    """Weights w_{t,k} = softmax_k(v_k·LN(h_t) + b_k) of the audio tokens at each text position.

    They read the text state alone and never the audio, so nothing is attended to. v and b start at 0, hence w at 1/K.
    With ``mixing="static"`` there is no v: the weights are the same at every position.

    Args:
        tokens: K.
        width: D.
        mixing: ``"gated"`` or ``"static"``.
    """

    def __init__(self, tokens: int, width: int, mixing: Mixing) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.zeros(tokens, width)) if mixing == "gated" else None
        self.bias = nn.Parameter(torch.zeros(tokens))

    def forward(self, normalised_BSD: Tensor) -> Tensor:
        """Return w_BSK from the normalised text state; with static mixing w_11K, to be broadcast."""
        if self.vectors is None:
            return self.bias.softmax(dim=-1)[None, None]
        return functional.linear(normalised_BSD, self.vectors, self.bias).softmax(dim=-1)


def normalise_state(h_BSD: Tensor) -> Tensor:
    """Return LN(h) in fp32 or wider, without learned scale or shift."""
    wide_BSD = h_BSD.to(torch.promote_types(h_BSD.dtype, torch.float32))
    return functional.layer_norm(wide_BSD, h_BSD.shape[-1:])
