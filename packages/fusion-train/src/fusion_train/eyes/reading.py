"""The first course: from cells to what they hold, taught by what the scenes are known to show; no language model takes part.

Shapes: B images, C cells, A width of the cells, K kinds, N numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from fusion_encoders.efficientnet import GRID
from fusion_encoders.image_projector import CellReader, ImageProjectorSettings, Logits, kind_chances, number_chances
from torch import Tensor
from torch.nn import functional

from fusion_train.eyes.cells import SceneCells
from fusion_train.eyes.plan import EyesPlan
from fusion_train.visual_questions import VisualScene, example
from fusion_train.visual_questions.scene import COLOURS, SHAPES, SIZES

_MEASURED = 200
"""Images from which the statistics of the cells are taken."""
_EMPTY = -100  # a cell without an object has no colour
_NUMBERS = 0.3
"""Weight of the numbers' surprise, which makes two neighbours agree which of them holds an object."""
_LEAST = 1e-6


@dataclass(frozen=True)
class Truth:
    """What scenes show, cell by cell and in numbers.

    Attributes:
        occupied_BC: 1 where the middle of an object lies.
        shapes_BC: the place of its shape in ``SHAPES``; -100 where there is no object.
        colours_BC: likewise.
        sizes_BC: likewise.
        numbers_BK: how many objects there are of each shape, of each colour, and in all.
    """

    occupied_BC: Tensor
    shapes_BC: Tensor
    colours_BC: Tensor
    sizes_BC: Tensor
    numbers_BK: Tensor


def truth(scenes: Sequence[VisualScene]) -> Truth:
    """Return what scenes show."""
    occupied_BC = torch.zeros(len(scenes), GRID * GRID)
    attributes_BC3 = torch.full((len(scenes), GRID * GRID, 3), _EMPTY)
    for row, scene in enumerate(scenes):
        for item in scene.objects:
            place = int(item.y * GRID) * GRID + int(item.x * GRID)
            occupied_BC[row, place] = 1
            attributes_BC3[row, place] = torch.tensor(
                [SHAPES.index(item.shape), COLOURS.index(item.colour), SIZES.index(item.size)]
            )
    numbers_BK = torch.tensor([[scene.number(kind) for kind in (*SHAPES, *COLOURS, None)] for scene in scenes])
    shapes_BC, colours_BC, sizes_BC = attributes_BC3.unbind(dim=-1)
    return Truth(occupied_BC, shapes_BC, colours_BC, sizes_BC, numbers_BK)


def surprises(logits: Logits, known: Truth, settings: ImageProjectorSettings) -> dict[str, Tensor]:
    """Return how far readings are from the truth, in nats: of an object's place and attributes, and of an image's numbers."""
    places = functional.binary_cross_entropy_with_logits(logits.occupied_BC, known.occupied_BC, reduction="none")
    choices = (
        (logits.shapes_BCY, known.shapes_BC),
        (logits.colours_BCX, known.colours_BC),
        (logits.sizes_BCZ, known.sizes_BC),
    )
    attributes = [functional.cross_entropy(said.mT, right, ignore_index=_EMPTY) for said, right in choices]
    chances_BKN = number_chances(kind_chances(logits.readings()), settings.most)
    right_BK1 = known.numbers_BK.clamp_max(settings.most)[..., None]
    numbers_BK = -chances_BKN.gather(-1, right_BK1)[..., 0].clamp_min(_LEAST).log()
    return {
        "places": places.sum() / known.occupied_BC.sum().clamp_min(1),
        "attributes": torch.stack(attributes).sum(),
        "numbers": numbers_BK.sum(dim=-1).mean(),
    }


class ReadingCourse:
    """Gives the losses of the reader's steps.

    Args:
        reader: what is taught.
        settings: of the projector that it belongs to.
        cells: of the images.
        plan: on what, and how long.
    """

    def __init__(self, reader: CellReader, settings: ImageProjectorSettings, cells: SceneCells, plan: EyesPlan) -> None:
        self.reader = reader
        self.settings = settings
        self.cells = cells
        self.plan = plan
        self.scenes = [example("train", plan.seed, index)[0] for index in range(plan.images)]

    def begin(self) -> None:
        """Set the statistics of the cells."""
        x_BCA = self.cells.read(self.scenes[:_MEASURED])
        self.reader.standardise_by(x_BCA.mean(dim=(0, 1)), x_BCA.std(dim=(0, 1)))

    def losses(self, step: int) -> dict[str, Tensor]:
        """Return the losses of a step, their sum as ``total``."""
        generator = np.random.default_rng([self.plan.seed, step])
        chosen = generator.choice(len(self.scenes), self.plan.reading.images, replace=False)
        scenes = [self.scenes[index] for index in chosen.tolist()]
        with torch.random.fork_rng(devices=[]):  # what is dropped follows from the step's number too
            torch.manual_seed(int(generator.integers(2**62)))
            logits = self.reader(self.cells.read(scenes))
        found = surprises(logits, truth(scenes), self.settings)
        return {"total": found["places"] + found["attributes"] + _NUMBERS * found["numbers"], **found}
