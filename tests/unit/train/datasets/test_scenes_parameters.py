"""Parameters of synthesised sounds are disjoint between splits, and every sound renders."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from fusion_train.datasets.scenes.bank import VOICES, SynthesisedBank
from fusion_train.datasets.scenes.options import SPLITS
from fusion_train.datasets.scenes.parameters import CELLS, Parameter
from fusion_train.datasets.scenes.signals import Noise, band, harmonics, phase
from fusion_train.datasets.scenes.vocabulary import sound
from hypothesis import given
from hypothesis import strategies as st

RATE = 16_000


def intervals(parameter: Parameter) -> list[tuple[float, float, str]]:
    return sorted((low, high, split) for split in SPLITS for low, high in parameter.ranges(split))


@pytest.mark.parametrize("name", VOICES)
def test_no_value_of_a_parameter_belongs_to_two_splits(name: str) -> None:
    for parameter in VOICES[name].parameters:
        found = intervals(parameter)
        assert len(found) == len(CELLS)
        assert found[0][0] >= parameter.low
        assert found[-1][1] <= parameter.high
        for (_, high, _), (low, _, _) in pairwise(found):
            assert high < low, f"{name}: ranges of {parameter.name} touch"


@given(
    low=st.floats(1e-3, 1e3),
    ratio=st.floats(1.01, 100),
    scale=st.sampled_from(["linear", "log"]),
    split=st.sampled_from(SPLITS),
    seed=st.integers(0, 2**32 - 1),
)
def test_drawn_values_lie_in_the_ranges_of_their_split_alone(
    low: float, ratio: float, scale: str, split: str, seed: int
) -> None:
    parameter = Parameter("any", low, low * ratio, "Hz", scale)  # type: ignore[arg-type]
    value = parameter.draw(split, np.random.default_rng(seed))  # type: ignore[arg-type]
    owners = {owner for start, end, owner in intervals(parameter) if start <= value <= end}
    assert owners == {split}
    assert 0 <= parameter.position(value) <= 1


def test_the_bank_has_enough_classes_of_each_kind() -> None:
    kinds = [sound(name).kind for name in VOICES]
    assert len(kinds) >= 14
    assert min(kinds.count(kind) for kind in ("background", "sustained", "shot")) >= 4
    assert all(3 <= len(voice.parameters) <= 5 for voice in VOICES.values())


@pytest.mark.parametrize("name", VOICES)
@pytest.mark.parametrize("split", SPLITS)
def test_every_sound_renders_at_its_length_and_again_the_same(name: str, split: str) -> None:
    def render() -> np.ndarray:
        bank, generator = SynthesisedBank(RATE, seed=3), np.random.default_rng(5)
        source = bank.draw(name, "foreground", split, generator)  # type: ignore[arg-type]
        assert (source.seconds is not None) == source.countable
        waveform = bank.render(source, RATE, split, generator)  # type: ignore[arg-type]
        assert len(waveform) == (round(source.seconds * RATE) if source.seconds else RATE)
        return waveform

    first = render()
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
    assert first.std() > 1e-3
    np.testing.assert_array_equal(first, render())


def test_splits_have_their_own_noise() -> None:
    bank = SynthesisedBank(RATE, seed=0)
    source = bank.draw("rain", "background", "train", np.random.default_rng(0))
    train, test = (bank.render(source, RATE, split, np.random.default_rng(1)) for split in ("train", "test"))
    assert abs(np.corrcoef(train, test)[0, 1]) < 0.1


def test_shaped_noise_has_the_spectrum_that_was_asked_for() -> None:
    noise = Noise((0,)).shaped(1 << 16, RATE, np.random.default_rng(0), band(1_000, 2_000, steepness=8))
    power = np.abs(np.fft.rfft(noise)) ** 2
    frequencies = np.fft.rfftfreq(len(noise), 1 / RATE)
    inside = (frequencies > 900) & (frequencies < 2_200)
    assert power[inside].sum() / power.sum() > 0.95


def test_harmonics_are_the_sum_of_sines() -> None:
    phase_S = phase(np.full(4_000, 100.0), RATE)
    expected = sum(level * np.sin((k + 1) * phase_S.astype(float)) for k, level in enumerate([1.0, 0.5, 0.25, 0.125]))
    np.testing.assert_allclose(harmonics(phase_S, [1.0, 0.5, 0.25, 0.125]), expected, atol=1e-4)
