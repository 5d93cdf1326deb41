"""Log-probabilities of given tokens, without ever holding the logits of all of them.

A vocabulary is a hundred times as wide as a hidden state, so logits, their softmax and the gradients of both are the largest
tensors of a training step by far. Here a few rows are done at a time, and of each what remains is its log-probability and the
derivative of that by its own hidden state, which no other row has a part in: all that the backward pass needs.

Shapes: M predicted tokens, N some of them, D backbone width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from fusion_core.backbone import Backbone
from torch import Tensor

ROWS_AT_ONCE = 128


def token_logprobs(
    backbone: Backbone, hidden_MD: Tensor, targets_M: Tensor, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Return the log-probability of each token, with gradients, and the sum of the entropies of their distributions, without.

    Args:
        backbone: the model; its output embeddings are frozen.
        hidden_MD: what each token is predicted from.
        targets_M: the tokens.
        temperature: of the softmax.
    """
    found: tuple[Tensor, Tensor] = _TokenLogprobs.apply(hidden_MD, targets_M, backbone, temperature)  # type: ignore[no-untyped-call]
    return found


class _TokenLogprobs(torch.autograd.Function):
    """Keeps ∂ log p(w_m) / ∂ h_m instead of logits."""

    @staticmethod
    def forward(
        ctx: Any, hidden_MD: Tensor, targets_M: Tensor, backbone: Backbone, temperature: float
    ) -> tuple[Tensor, Tensor]:
        wanted = bool(ctx.needs_input_grad[0])
        logprobs: list[Tensor] = []
        derivatives: list[Tensor] = []
        entropy = torch.zeros((), device=hidden_MD.device)
        for start in range(0, len(hidden_MD), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            hidden_ND = hidden_MD[rows].detach().requires_grad_(wanted)
            with torch.set_grad_enabled(wanted):
                logits_NV = backbone.logits(hidden_ND).float()
                all_NV = (logits_NV if temperature == 1 else logits_NV / temperature).log_softmax(dim=-1)
                logprob_N = all_NV.gather(1, targets_M[rows, None])[:, 0]
            if wanted:
                derivatives += torch.autograd.grad(logprob_N, hidden_ND, torch.ones_like(logprob_N))
            logprobs.append(logprob_N.detach())
            all_NV = all_NV.detach()
            entropy -= torch.linalg.vecdot(all_NV.exp(), all_NV).sum()
        ctx.save_for_backward(torch.cat(derivatives) if wanted else None)
        ctx.mark_non_differentiable(entropy)
        return torch.cat(logprobs), entropy

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (derivative_MD,) = ctx.saved_tensors
        return gradients[0][:, None].to(derivative_MD) * derivative_MD, None, None, None
