"""What the tokens of an image are first fitted to: embeddings of the words that describe it, laid out on its cells.

A cell whose middle lies in the box of an object has the sum of the embeddings of its colour's and its shape's name. Every other
cell tells how many there are of one kind in the whole image, by the sum of the embeddings of «2», «red» and «objects», or of «3»
and «circles»; which kind, its place decides.

Shapes: B images, C cells, N cells of all images, D width of the language model, W words, O of which one is chosen.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from fusion_core.backbone import Backbone
from fusion_encoders.efficientnet import GRID
from torch import Tensor
from torch.nn import functional

from fusion_train.visual_questions import VisualScene
from fusion_train.visual_questions.ask import NUMBERS, plural
from fusion_train.visual_questions.scene import COLOURS, SHAPES, SceneObject

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
            for place in covered_cells(item):
                weights_CW[place, WORDS.index(item.shape)] = 1
                weights_CW[place, WORDS.index(item.colour)] = 1
                tells_C[place] = True
        for place in torch.nonzero(~tells_C).flatten().tolist():
            for word in tally(scene, KINDS[place % len(KINDS)]):
                weights_CW[place, WORDS.index(word)] = 1
        return weights_CW, tells_C

    def loss(self, tokens_BCD: Tensor, scenes: Sequence[VisualScene]) -> Tensor:
        """Return how far the tokens are from their words.

        It is the squared distance as a share of the words' variance, both sorts of cell counting alike, and for each choice that
        was made among the words (a colour, a shape, a number) the surprise at it, in nats, of a reader who takes the nearest.
        """
        weights, tells = zip(*(self.weights(scene) for scene in scenes), strict=True)
        weights_BCW, tells_BC = torch.stack(weights), torch.stack(tells)
        off_BCD = tokens_BCD.float() - weights_BCW @ self.embeddings_WD
        distance_BC = off_BCD.square().mean(dim=-1) / self.spread
        total = (distance_BC[tells_BC].mean() + distance_BC[~tells_BC].mean()) / 2
        for words, asked_BC in ((SHAPES, tells_BC), (COLOURS, tells_BC), (NUMBERS, ~tells_BC)):
            total = total + self._surprise(off_BCD[asked_BC], weights_BCW[asked_BC], words)
        return total

    def _surprise(self, off_ND: Tensor, weights_NW: Tensor, words: Sequence[str]) -> Tensor:
        """Return the cross-entropy of the right words, each word as likely as exp(-distance²/2) of what is left for it."""
        places = [WORDS.index(word) for word in words]
        choices_OD = self.embeddings_WD[places]
        right_N = weights_NW[:, places].argmax(dim=1)
        left_ND = off_ND + choices_OD[right_N]
        return functional.cross_entropy(left_ND @ choices_OD.T - choices_OD.square().sum(dim=1) / 2, right_N)


def tally(scene: VisualScene, kind: str) -> tuple[str, ...]:
    """Return the words that tell how many there are of a kind: a number, and what a question of number names."""
    number = str(scene.number(None if kind == THINGS else kind))
    if kind in SHAPES:
        return number, plural(kind)
    return (number, kind) if kind == THINGS else (number, kind, THINGS)


def covered_cells(item: SceneObject) -> list[int]:
    """Return the cells whose middle lies in the box of an object."""
    middles = [(place + 0.5) / GRID for place in range(GRID)]
    columns, rows = (
        [place for place in range(GRID) if abs(middles[place] - centre) <= item.radius] for centre in (item.x, item.y)
    )
    return [row * GRID + column for row in rows for column in columns]
