"""What lies in each cell of an image, as a second lesson for the eyes: it is cheap and tells the tower what to look for.

A cell tells of the object whose centre lies in it. Colour and shape are read off a cell's token by the embeddings of the words,
so that image tokens come to lie where the language has the words for them; presence, size and place by a small head, which is
thrown away afterwards.

Shapes: B images, I cells, D width, O objects of all images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from fusion_train.tiny_vlm.model import GRID, WIDTH
from fusion_train.visual_questions import VisualScene
from fusion_train.visual_questions.scene import COLOURS, SHAPES, SIZES


@dataclass(frozen=True)
class _Objects:
    """Objects of a batch: image and cell, attributes by number, and how far the centre lies off the cell's, in cells."""

    image_O: Tensor
    cell_O: Tensor
    colour_O: Tensor
    shape_O: Tensor
    large_O: Tensor
    offset_O2: Tensor

    @classmethod
    def of(cls, scenes: Sequence[VisualScene]) -> _Objects:
        rows = []
        for image, scene in enumerate(scenes):
            for item in scene.objects:
                column, row = int(item.x * GRID), int(item.y * GRID)
                attributes = (COLOURS.index(item.colour), SHAPES.index(item.shape), SIZES.index(item.size))
                offset = (item.x * GRID - column - 0.5, item.y * GRID - row - 0.5)
                rows.append((image, row * GRID + column, *attributes, *offset))
        table = torch.tensor(rows)
        images, cells, colours, shapes, large = table[:, :5].long().unbind(1)
        return cls(images, cells, colours, shapes, large.float(), table[:, 5:])


class CellReader(nn.Module):
    """Reads presence, size and place off the token of a cell.

    Args:
        words: the tokens of the words for colours and shapes, in the order of ``COLOURS`` and ``SHAPES``.
    """

    words: Tensor

    def __init__(self, words: Sequence[int]) -> None:
        super().__init__()
        self.head = nn.Linear(WIDTH, 4)
        self.register_buffer("words", torch.tensor(list(words)))

    def loss(self, tokens_BID: Tensor, embeddings_VD: Tensor, scenes: Sequence[VisualScene]) -> Tensor:
        """Return how badly the tokens tell what lies in their cells, in nats a cell and object."""
        objects = _Objects.of(scenes)
        normed_BID = functional.rms_norm(tokens_BID.float(), (WIDTH,))
        read_BI4 = self.head(normed_BID)
        present_BI = torch.zeros(read_BI4.shape[:2])
        present_BI[objects.image_O, objects.cell_O] = 1
        found_O4 = read_BI4[objects.image_O, objects.cell_O]
        named_OW = normed_BID[objects.image_O, objects.cell_O] @ embeddings_VD[self.words].T
        return (
            functional.binary_cross_entropy_with_logits(read_BI4[..., 0], present_BI)
            + functional.cross_entropy(named_OW[:, : len(COLOURS)], objects.colour_O)
            + functional.cross_entropy(named_OW[:, len(COLOURS) :], objects.shape_O)
            + functional.binary_cross_entropy_with_logits(found_O4[:, 1], objects.large_O)
            + functional.mse_loss(found_O4[:, 2:], objects.offset_O2)
        )
