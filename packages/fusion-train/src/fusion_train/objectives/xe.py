"""Cross-entropy (XE): −Σ log p(token | prompt, audio, tokens before it), over the caption and its end token.

Shapes: N predicted tokens, V vocabulary.
"""

from __future__ import annotations

from fusion_core.context import FusionContext
from torch import Tensor
from torch.nn import functional

from fusion_train.examples import Batch
from fusion_train.reading import Reader


def cross_entropy_sum(reader: Reader, batch: Batch, fusion: FusionContext | None) -> Tensor:
    """Return the summed cross-entropy of a batch in fp32; divide it by the tokens of the whole step.

    Logits are computed only at the N positions that predict a label.

    Args:
        reader: runs the batch through the backbone.
        batch: the captions.
        fusion: the modality bound to them, or None.
    """
    logits_NV = reader.backbone.logits(reader.hidden(batch, fusion))
    return functional.cross_entropy(logits_NV.float(), batch.targets_N, reduction="sum")
