"""From readings to tallies: numbers and combinations as probability theory has them, by brute force over what cells may hold."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from fusion_encoders.image_projector import (
    ImageProjector,
    ImageProjectorSettings,
    Readings,
    combination_chances,
    number_chances,
    tally,
)

SETTINGS = ImageProjectorSettings(cells=4, width=6, hidden=8, layers=1, colours=3, shapes=2, most=2, output=5)


def random_readings() -> Readings:
    torch.manual_seed(0)
    return Readings(torch.rand(1, 4), *(torch.randn(1, 4, number).softmax(-1) for number in (2, 3, 2)))


def test_numbers_are_as_likely_as_the_sum_over_all_ways_to_get_them():
    chances_C = torch.tensor([0.1, 0.7, 0.5, 0.9])
    expected = torch.zeros(3)
    for held in product((0, 1), repeat=4):
        likely = torch.tensor([p if one else 1 - p for p, one in zip(chances_C, held, strict=True)]).prod()
        expected[min(sum(held), 2)] += likely
    torch.testing.assert_close(number_chances(chances_C[None, :, None], 2)[0, 0], expected)


def test_a_combination_is_there_unless_every_cell_is_without_it():
    readings = random_readings()
    found_YXZ = combination_chances(readings)[0]
    for y, x, z in product(range(2), range(3), range(2)):
        here_C = (
            readings.occupied_BC[0]
            * readings.shapes_BCY[0, :, y]
            * readings.colours_BCX[0, :, x]
            * readings.sizes_BCZ[0, :, z]
        )
        assert float(found_YXZ[y, x, z]) == pytest.approx(1 - float((1 - here_C).prod()), abs=1e-6)


def test_a_tally_is_a_share_of_each_word_and_free_tokens_have_none():
    tally_SW = tally(random_readings(), SETTINGS)[0]
    assert tally_SW.shape == (SETTINGS.tokens, SETTINGS.words)
    assert 0 <= float(tally_SW.min()) <= float(tally_SW.max()) <= 1 + 1e-6
    assert not tally_SW[: SETTINGS.free].any()
    numbers_KN = tally_SW[SETTINGS.free + SETTINGS.named :, : SETTINGS.most + 1][: SETTINGS.named + 1]
    torch.testing.assert_close(numbers_KN.sum(-1), torch.ones(SETTINGS.named + 1))


def test_cells_are_standardised_and_a_gradient_reaches_every_weight():
    projector = ImageProjector(SETTINGS)
    torch.nn.init.normal_(projector.words_WD)
    x_BCA = 5 + 3 * torch.randn(7, 4, 6)
    projector.reader.standardise_by(x_BCA.mean(dim=(0, 1)), x_BCA.std(dim=(0, 1)))
    again = ImageProjector(SETTINGS)
    again.load_state_dict(projector.state_dict())
    again.reader.standardise_by(torch.zeros(6), torch.ones(6))
    shifted_BCA = (x_BCA - x_BCA.mean(dim=(0, 1))) / x_BCA.std(dim=(0, 1))
    projector.eval()
    again.eval()
    torch.testing.assert_close(projector(x_BCA), again(shifted_BCA), rtol=1e-4, atol=1e-4)
    projector(x_BCA).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in projector.parameters())


def test_what_is_dropped_while_learning_is_kept_afterwards():
    projector = ImageProjector(SETTINGS)
    torch.nn.init.normal_(projector.words_WD)
    x_BCA = torch.randn(7, 4, 6)
    assert not torch.equal(projector(x_BCA), projector(x_BCA))
    projector.eval()
    assert torch.equal(projector(x_BCA), projector(x_BCA))
