"""Cross-entropy (XE): −Σ log p(token | prompt, audio, tokens before it), over the caption and its end token.

Shapes: N predicted tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

from fusion_core.context import FusionContext, ResidualAlignment
from torch import Tensor
from torch.nn import functional

from fusion_train.examples import Batch
from fusion_train.learner import Learner, Pair
from fusion_train.reading import Reader


def cross_entropy_sum(reader: Reader, batch: Batch, fusion: FusionContext | None) -> Tensor:
    """Return the summed cross-entropy of a batch in fp32, each token by its weight; divide it by the tokens of the whole step.

    Logits are computed only at the N positions that predict a label.

    Args:
        reader: runs the batch through the backbone.
        batch: the captions.
        fusion: the modality bound to them, or None.
    """
    logits_NV = reader.backbone.logits(reader.hidden(batch, fusion))
    if batch.weights_N is None:
        return functional.cross_entropy(logits_NV.float(), batch.targets_N, reduction="sum")
    loss_N = functional.cross_entropy(logits_NV.float(), batch.targets_N, reduction="none")
    return (loss_N * batch.weights_N).sum()


class CrossEntropy:
    """The token mean of the cross-entropy over an effective batch.

    Args:
        learner: what learns.
        residual_alignment: weight of 1 − cos(stream after the addition, stream before it), the mean over sites and positions:
            a contingency that keeps the stream near the frozen one.
    """

    name = "xe"
    module = None

    def __init__(self, learner: Learner, residual_alignment: float = 0.0) -> None:
        self.learner = learner
        self.residual_alignment = residual_alignment

    def accumulate(self, pairs: Sequence[Pair], step: int) -> dict[str, float]:
        """Add the gradients of an effective batch and return its loss and size; where tokens weigh more or less, how much."""
        learner = self.learner
        tokens = sum(len(learner.examples.tokens[clip][caption]) for clip, caption in pairs)
        total = drift = weights = 0.0
        for part in learner.micro_batches(pairs):
            batch = learner.collate(part)
            context = learner.bind(batch)
            watched = ResidualAlignment(context) if self.residual_alignment else None
            loss = cross_entropy_sum(learner.reader, batch, watched or context) / tokens
            total += float(loss.detach())
            weights += float(batch.weights_N.sum()) if batch.weights_N is not None else len(batch.targets_N)
            if watched is not None:
                moved = watched.penalty() * (len(part) / len(pairs))
                loss = loss + self.residual_alignment * moved
                drift += float(moved.detach())
            learner.backward(loss)
        facts = {"loss": learner.total(total), "tokens": tokens, "clips": len(pairs)}
        mean_weight = learner.total(weights) / tokens
        facts |= {"mean_weight": mean_weight} if mean_weight != 1 else {}
        return facts | ({"residual_drift": learner.total(drift)} if self.residual_alignment else {})
