"""Cross-entropy (XE): −Σ log p(token | prompt, audio, tokens before it), over the caption and its end token.

Shapes: B batch, S text positions, N predicted tokens, V vocabulary.
"""

from __future__ import annotations

from fusion_core.backbone import Backbone
from fusion_core.context import FusionContext
from torch import Tensor
from torch.nn import functional

from fusion_train.examples import Batch


def cross_entropy_sum(backbone: Backbone, batch: Batch, fusion: FusionContext | None) -> Tensor:
    """Return the summed cross-entropy of a batch in fp32; divide it by the tokens of the whole step.

    Logits are computed only at the N positions that predict a label.
    """
    hidden_BSD = backbone.hidden(batch.ids_BS, batch.mask_BS, fusion=fusion)
    logits_NV = backbone.logits(hidden_BSD[batch.labels_BS])
    targets_N = batch.ids_BS.roll(-1, dims=1)[batch.labels_BS]
    return functional.cross_entropy(logits_NV.float(), targets_N, reduction="sum")
