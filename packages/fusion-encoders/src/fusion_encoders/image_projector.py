"""From the cells of an image to tokens of a language model: what each cell holds, summed up kind by kind, in learned vectors.

The projector first *reads* every cell: whether the middle of an object lies in it, and the object's colour, shape and size. Then
it *tallies* the readings over the cells: how many objects there are of each kind (a shape, a colour, or any), and what else the
objects of a kind are. At last it *speaks*: a token is what its slot always says plus the vector of each word of its tally.

Attention averages, so it counts badly; a sum over cells counts by construction. And as only the words' vectors meet the language
model, they can be taught through it without the images being looked at again.

Shapes: B images, C cells, A width of the cells, P width of the projector, K kinds, N numbers, S tokens, W words,
D width of the language model, X colours, Y shapes, Z sizes, H and V rows and columns of cells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class ImageProjectorSettings:
    """The shape of a projector.

    Attributes:
        cells: C.
        width: A.
        hidden: P.
        layers: of convolution over the cells.
        dropout: after each, while it is trained.
        colours: X.
        shapes: Y.
        sizes: Z.
        most: the largest number that is told from larger ones; N is one more.
        free: tokens that say the same of every image.
        output: D.
    """

    cells: int = 49
    width: int = 1280
    hidden: int = 192
    layers: int = 2
    dropout: float = 0.1
    colours: int = 8
    shapes: int = 4
    sizes: int = 2
    most: int = 5
    free: int = 4
    output: int = 576

    @property
    def named(self) -> int:
        """Kinds that have a name of their own: the shapes and the colours."""
        return self.shapes + self.colours

    @property
    def tokens(self) -> int:
        """S: the free ones, what the objects of each named kind are, and the numbers of each and of all."""
        return self.free + 2 * self.named + 1

    @property
    def words(self) -> int:
        """W: numbers, colours by size, shapes by size, and «nothing»."""
        return self.most + 1 + self.sizes * self.named + 1


@dataclass(frozen=True)
class Readings:
    """What the cells hold, as probabilities.

    Attributes:
        occupied_BC: that the middle of an object lies in the cell.
        shapes_BCY: of which shape it is, if so.
        colours_BCX: of which colour.
        sizes_BCZ: of which size.
    """

    occupied_BC: Tensor
    shapes_BCY: Tensor
    colours_BCX: Tensor
    sizes_BCZ: Tensor


@dataclass(frozen=True)
class Logits:
    """Readings before they are made probabilities; the fields are those of :class:`Readings`."""

    occupied_BC: Tensor
    shapes_BCY: Tensor
    colours_BCX: Tensor
    sizes_BCZ: Tensor

    def readings(self) -> Readings:
        """Return the probabilities."""
        choices = (self.shapes_BCY, self.colours_BCX, self.sizes_BCZ)
        return Readings(self.occupied_BC.sigmoid(), *(choice.softmax(dim=-1) for choice in choices))


class CellReader(nn.Module):
    """Says what each cell holds: x̃ the cells standardised a channel, then 3 × 3 convolutions over them, then a linear map.

    The network that sees the image gives an object to every cell that it touches; convolutions let one of them speak for all.
    """

    mean_A: Tensor
    scale_A: Tensor

    def __init__(self, settings: ImageProjectorSettings) -> None:
        super().__init__()
        self.choices = (1, settings.shapes, settings.colours, settings.sizes)
        self.side = math.isqrt(settings.cells)
        self.register_buffer("mean_A", torch.zeros(settings.width))
        self.register_buffer("scale_A", torch.ones(settings.width))
        self.enter = nn.Linear(settings.width, settings.hidden)
        self.place_CP = nn.Parameter(0.02 * torch.randn(settings.cells, settings.hidden))
        self.mix = nn.ModuleList(
            nn.Sequential(
                nn.GroupNorm(1, settings.hidden),
                nn.Conv2d(settings.hidden, settings.hidden, kernel_size=3, padding=1),
                nn.GELU(),
                nn.Dropout(settings.dropout),
            )
            for _ in range(settings.layers)
        )
        self.norm = nn.LayerNorm(settings.hidden)
        self.leave = nn.Linear(settings.hidden, sum(self.choices))

    def standardise_by(self, mean_A: Tensor, deviation_A: Tensor) -> None:
        """Set the statistics of the cells of the training images."""
        self.mean_A.copy_(mean_A)
        self.scale_A.copy_(1 / deviation_A.clamp_min(1e-3))

    def forward(self, x_BCA: Tensor) -> Logits:
        """Return what the cells hold."""
        x_BCP = self.enter((x_BCA - self.mean_A) * self.scale_A) + self.place_CP
        x_BPHV = x_BCP.mT.unflatten(-1, (self.side, self.side))
        for layer in self.mix:
            x_BPHV = x_BPHV + layer(x_BPHV)
        choices_BCn = self.leave(self.norm(x_BPHV.flatten(2).mT))
        occupied_BC1, shapes_BCY, colours_BCX, sizes_BCZ = choices_BCn.split(self.choices, dim=-1)
        return Logits(occupied_BC1[..., 0], shapes_BCY, colours_BCX, sizes_BCZ)


class ImageProjector(nn.Module):
    """e_s = c_s + Σ_w m_sw·v_w, with m the tally of what the reader sees, v and c learned."""

    def __init__(self, settings: ImageProjectorSettings) -> None:
        super().__init__()
        self.settings = settings
        self.reader = CellReader(settings)
        self.said_SD = nn.Parameter(torch.zeros(settings.tokens, settings.output))
        self.words_WD = nn.Parameter(torch.zeros(settings.words, settings.output))

    def forward(self, x_BCA: Tensor) -> Tensor:
        """Return the tokens e_BSD."""
        return self.speak(tally(self.reader(x_BCA).readings(), self.settings))

    def speak(self, tally_BSW: Tensor) -> Tensor:
        """Return the tokens e_BSD of a tally."""
        return tally_BSW @ self.words_WD + self.said_SD


def tally(readings: Readings, settings: ImageProjectorSettings) -> Tensor:
    """Return how much of each word each token says, 0 to 1, m_BSW.

    Words are the numbers, then colours and shapes, small ones first, then «nothing»; tokens the free ones, then what the objects
    of each shape and colour are, then the numbers of these and of all objects.
    """
    numbers_BKN = number_chances(kind_chances(readings), settings.most)
    there_BYXZ = combination_chances(readings)
    m_BSW = numbers_BKN.new_zeros(len(numbers_BKN), settings.tokens, settings.words)
    first_kind, first_number = settings.free, settings.free + settings.named
    first_shape = settings.most + 1 + settings.sizes * settings.colours
    m_BSW[:, first_kind : first_kind + settings.shapes, settings.most + 1 : first_shape] = there_BYXZ.transpose(
        2, 3
    ).flatten(2)
    m_BSW[:, first_kind + settings.shapes : first_number, first_shape:-1] = there_BYXZ.permute(0, 2, 3, 1).flatten(2)
    m_BSW[:, first_kind:first_number, -1] = numbers_BKN[:, :-1, 0]
    m_BSW[:, first_number:, : settings.most + 1] = numbers_BKN
    return m_BSW


def kind_chances(readings: Readings) -> Tensor:
    """Return for each cell the chance that it holds an object of each shape, of each colour, and any, p_BCK."""
    occupied_BC1 = readings.occupied_BC[..., None]
    return torch.cat([occupied_BC1 * readings.shapes_BCY, occupied_BC1 * readings.colours_BCX, occupied_BC1], dim=-1)


def number_chances(p_BCK: Tensor, most: int) -> Tensor:
    """Return how likely each number of cells is, p_BKN (the last: that many or more), if each has its chance by itself."""
    chances_BKN = functional.pad(torch.ones_like(p_BCK[:, 0, :, None]), (0, most))
    for p_BK in p_BCK.unbind(dim=1):
        counts_BK1 = p_BK[..., None]
        more_BKN = functional.pad(chances_BKN[..., :-1] * counts_BK1, (1, 0))
        same_BKN = torch.cat([chances_BKN[..., :-1] * (1 - counts_BK1), chances_BKN[..., -1:]], dim=-1)
        chances_BKN = same_BKN + more_BKN
    return chances_BKN


def combination_chances(readings: Readings) -> Tensor:
    """Return how likely each shape with a colour and a size is anywhere in the image, p_BYXZ."""
    sizes = (readings.shapes_BCY.shape[-1], readings.colours_BCX.shape[-1], readings.sizes_BCZ.shape[-1])
    absent_BYXZ = readings.occupied_BC.new_ones(len(readings.occupied_BC), *sizes)
    parts = (readings.occupied_BC, readings.shapes_BCY, readings.colours_BCX, readings.sizes_BCZ)
    for occupied_B, shapes_BY, colours_BX, sizes_BZ in zip(*(part.unbind(dim=1) for part in parts), strict=True):
        here_BY = occupied_B[:, None] * shapes_BY
        absent_BYXZ = absent_BYXZ * (1 - torch.einsum("by,bx,bz->byxz", here_BY, colours_BX, sizes_BZ))
    return 1 - absent_BYXZ
