"""Where the sounds of a scene come from: the protocol of a bank, and the bank that is synthesised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from fusion_train.datasets.scenes.graph import Role, Source
from fusion_train.datasets.scenes.options import SPLITS, Split
from fusion_train.datasets.scenes.shots import SHOTS
from fusion_train.datasets.scenes.signals import Noise, Waveform
from fusion_train.datasets.scenes.sustained import SUSTAINED
from fusion_train.datasets.scenes.textures import TEXTURES
from fusion_train.datasets.scenes.vocabulary import sound
from fusion_train.datasets.scenes.voice import Event

VOICES = {voice.sound_class: voice for voice in (*TEXTURES, *SUSTAINED, *SHOTS)}
"""The synthesised classes by name."""


class Bank(Protocol):
    """A stock of sounds by class and split; it travels to the worker processes, so it pickles small."""

    def classes(self, split: Split) -> tuple[str, ...]:
        """Return the classes of which a split has sounds."""
        ...

    def draw(self, sound_class: str, role: Role, split: Split, generator: np.random.Generator) -> Source:
        """Choose a sound of a class from those of a split."""
        ...

    def render(self, source: Source, samples: int, split: Split, generator: np.random.Generator) -> Waveform:
        """Return waveform_S of a chosen sound: one shot, or as many samples as asked for."""
        ...

    def statistics(self) -> dict[str, Any]:
        """Return which classes are used and how many sounds, or parameters, each split has of them."""
        ...

    def licence(self, source: Source) -> str:
        """Return the licence of a sound."""
        ...

    def listing(self) -> list[dict[str, str]]:
        """Return every recording with its class, its split and its credits; nothing where none was recorded."""
        ...

    @property
    def left_out(self) -> Mapping[str, str]:
        """The recordings that cannot be used, with the reasons."""
        ...


class SynthesisedBank:
    """Sounds made by code, from physical parameters of which no value is in two splits.

    ``rate`` in Hz; the same ``seed`` gives the same noise.
    """

    def __init__(self, rate: int, seed: int) -> None:
        self.rate = rate
        self.seed = seed
        self._noise: dict[Split, Noise] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"rate": self.rate, "seed": self.seed, "_noise": {}}

    def classes(self, split: Split) -> tuple[str, ...]:
        """Return all synthesised classes: every split has them all."""
        return tuple(VOICES)

    def draw(self, sound_class: str, role: Role, split: Split, generator: np.random.Generator) -> Source:
        """Draw each parameter of a class from the sub-ranges of the split; the first but the length is the character."""
        parameters = VOICES[sound_class].parameters
        values = {parameter.name: parameter.draw(split, generator) for parameter in parameters}
        timbre = next(parameter for parameter in parameters if parameter.name != "seconds")
        countable = sound(sound_class).kind == "shot"
        return Source(sound_class, values.get("seconds"), timbre.position(values[timbre.name]), countable, values)

    def render(self, source: Source, samples: int, split: Split, generator: np.random.Generator) -> Waveform:
        """Synthesise waveform_S; a shot has its own length."""
        if split not in self._noise:
            self._noise[split] = Noise((self.seed, SPLITS.index(split), 7))
        if source.seconds is not None:
            samples = round(source.seconds * self.rate)
        event = Event(source.details, samples, self.rate, self._noise[split], generator)
        return VOICES[source.sound_class].render(event)

    def statistics(self) -> dict[str, Any]:
        """Return the number of parameters of each class."""
        return {name: {"parameters": len(voice.parameters)} for name, voice in VOICES.items()}

    def licence(self, source: Source) -> str:
        """Return the licence: what this code makes is in the public domain."""
        return "CC0-1.0"

    def listing(self) -> list[dict[str, str]]:
        """Return nothing: none was recorded."""
        return []

    @property
    def left_out(self) -> Mapping[str, str]:
        """Nothing."""
        return {}
