"""What a synthesised sound is: a function of a few physical parameters, and the parameters' ranges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from fusion_train.datasets.scenes.parameters import Parameter
from fusion_train.datasets.scenes.signals import Noise, Waveform, as_waveform, times
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Event:
    """One sound to render: its parameters by name, its length, and where its randomness comes from."""

    parameters: Mapping[str, float]
    samples: int
    rate: int
    noise: Noise
    generator: np.random.Generator

    def __getitem__(self, name: str) -> float:
        return self.parameters[name]

    @property
    def seconds(self) -> float:
        """The length in s."""
        return self.samples / self.rate

    @property
    def time(self) -> Waveform:
        """The time_S of each sample in s."""
        return times(self.samples, self.rate)

    def shaped(self, shape: Callable[[Waveform], ArrayLike]) -> Waveform:
        """Return noise_S of the event's length and unit deviation, its amplitude spectrum ``shape(frequencies)``."""
        noise = self.noise.shaped(self.samples, self.rate, self.generator, shape)
        return as_waveform(noise / (noise.std() + 1e-12))


@dataclass(frozen=True)
class Voice:
    """A synthesised class: its name in the vocabulary, how it is rendered, and its physical parameters.

    A single shot has a parameter ``seconds``, its own length; other sounds last as long as they are asked to.
    """

    sound_class: str
    render: Callable[[Event], Waveform]
    parameters: tuple[Parameter, ...]
