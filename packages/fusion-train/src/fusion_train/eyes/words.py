"""What the tokens of an image are first fitted to: embeddings of the words that describe it, laid out on its cells.

The cell in which an object's centre lies has the embedding of its shape's name, the cell before it that of its colour: read row
by row, the two are the words «red circle». Every other cell tells how many there are of one kind in the whole image, by the sum
of the embeddings of «2», «red» and «objects», or of «3» and «circles»; which kind, its place decides.

Shapes: B images, C cells, D width of the language model, W words.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from fusion_core.backbone import Backbone
from fusion_encoders.efficientnet import GRID
from torch import Tensor

from fusion_train.visual_questions import VisualScene
from fusion_train.visual_questions.ask import NUMBERS, plural
from fusion_train.visual_questions.scene import COLOURS, SHAPES

THINGS = "objects"
KINDS: tuple[str, ...] = (*SHAPES, *COLOURS, THINGS)
WORDS: tuple[str, ...] = (*KINDS, *(plural(shape) for shape in SHAPES), *NUMBERS)


class CellWords:
    """Gives the targets of the aligned start.

    Args:
        backbone: whose embeddings the words have.
    """

    def __init__(self, backbone: Backbone) -> None:
        table_VD = backbone.model.get_input_embeddings().weight
        spelt = [word if word in NUMBERS else f" {word}" for word in WORDS]
        rows = [table_VD[backbone.encode(word)].float().mean(dim=0) for word in spelt]
        self.embeddings_WD = torch.stack(rows).detach()
        self.spread = float(self.embeddings_WD.var())

    def weights(self, scene: VisualScene) -> tuple[Tensor, Tensor]:
        """Return how much of each word is in each cell, and which cells tell of one object: (C, W) and (C,)."""
        weights_CW = torch.zeros(GRID * GRID, len(WORDS))
        tells_C = torch.zeros(GRID * GRID, dtype=torch.bool)
        for item in scene.objects:
            cell = int(item.y * GRID) * GRID + int(item.x * GRID)
            for place, word in ((cell, item.shape), (max(cell - 1, 0), item.colour)):
                weights_CW[place, WORDS.index(word)] = 1
                tells_C[place] = True
        for place in torch.nonzero(~tells_C).flatten().tolist():
            for word in tally(scene, KINDS[place % len(KINDS)]):
                weights_CW[place, WORDS.index(word)] = 1
        return weights_CW, tells_C

    def loss(self, tokens_BCD: Tensor, scenes: Sequence[VisualScene]) -> Tensor:
        """Return the squared distance to the words as a share of their variance; both sorts of cell count alike."""
        weights, tells = zip(*(self.weights(scene) for scene in scenes), strict=True)
        target_BCD = torch.stack(weights) @ self.embeddings_WD
        tells_BC = torch.stack(tells)
        distance_BC = (tokens_BCD.float() - target_BCD).square().mean(dim=-1) / self.spread
        return (distance_BC[tells_BC].mean() + distance_BC[~tells_BC].mean()) / 2


def tally(scene: VisualScene, kind: str) -> tuple[str, ...]:
    """Return the words that tell how many there are of a kind: a number, and what a question of number names."""
    number = str(scene.number(None if kind == THINGS else kind))
    if kind in SHAPES:
        return number, plural(kind)
    return (number, kind) if kind == THINGS else (number, kind, THINGS)
