"""What the vectors of the projector begin as: embeddings of words, as a question names a kind and as an answer tells of it.

Shapes: S tokens, W words, D width of the language model.
"""

from __future__ import annotations

import torch
from fusion_core.backbone import Backbone
from fusion_encoders.image_projector import ImageProjector
from torch import Tensor

from fusion_train.visual_questions.ask import NUMBERS, plural
from fusion_train.visual_questions.scene import COLOURS, SHAPES, SIZES

THINGS = " objects"


@torch.no_grad()
def begin_with_words(projector: ImageProjector, backbone: Backbone) -> None:
    """Set what the tokens say at the start, in place."""
    projector.said_SD[projector.settings.free :] = torch.stack(
        [
            *(_sum(backbone, f" {kind}") for kind in (*SHAPES, *COLOURS)),
            *_numbered(backbone),
        ]
    )
    told = [*NUMBERS, *COLOURS * len(SIZES), *SHAPES * len(SIZES)]
    projector.words_WD[: len(told)] = torch.stack([_sum(backbone, word) for word in told])


def _numbered(backbone: Backbone) -> list[Tensor]:
    """Return how a question of number names each kind, and all."""
    shapes = [_sum(backbone, f" {plural(shape)}") for shape in SHAPES]
    return [*shapes, *(_sum(backbone, f" {colour}", THINGS) for colour in COLOURS), _sum(backbone, THINGS)]


def _sum(backbone: Backbone, *words: str) -> Tensor:
    """Return the sum of the embeddings of the words' first tokens; an answer is told from others by its first."""
    table_VD = backbone.model.get_input_embeddings().weight
    return torch.stack([table_VD[backbone.encode(word)[0]].float() for word in words]).sum(dim=0)
