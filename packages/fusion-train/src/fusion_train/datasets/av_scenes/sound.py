"""The sound of a clip: that of what is seen, at the moments at which it is seen, and one from outside the picture.

Shapes: S samples. Frequencies are in Hz, times in s.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from fusion_train.datasets.av_scenes.graph import Action, AvScene, Other
from fusion_train.datasets.av_scenes.motion import FLASH, Timing, timing
from fusion_train.datasets.scenes.bank import SynthesisedBank
from fusion_train.datasets.scenes.parameters import Parameter
from fusion_train.datasets.scenes.signals import Noise, Waveform, as_waveform, band, harmonics, partials, phase, swell

PITCHES = {"low": Parameter("low", 160, 260, "Hz"), "high": Parameter("high", 620, 1_000, "Hz")}
CLASSES: dict[Other, str] = {
    "bell": "church bell tolling",
    "dog": "dog barking",
    "horn": "car horn",
    "glass": "glass breaking",
}
"""The synthesised classes of the dataset ``scenes`` that are heard from outside the picture."""
OUTSIDE = Parameter("outside", 0.35, 0.7, "of the clip", "linear")
_PEAK, _OUTSIDE_LEVEL = 0.5, 0.35


class Sounds:
    """Makes the sound tracks of a dataset.

    Args:
        rate: sampling rate in Hz.
        seed: of the noise.
    """

    def __init__(self, rate: int, seed: int) -> None:
        self.rate = rate
        self.bank = SynthesisedBank(rate, seed)
        self.noise = Noise((seed, 11))

    def render(self, scene: AvScene, seconds: float) -> Waveform:
        """Return the sound track of a clip, waveform_S."""
        samples = round(seconds * self.rate)
        generator = np.random.default_rng([*scene.seed, 3])
        pitch = PITCHES[scene.pitch].draw(scene.split, generator)
        when = timing(scene, scene.sound, seconds)
        own_S = np.zeros(samples, np.float32)
        for start in when.starts:
            part_S = VOICES[scene.sound](self, pitch, when, generator)
            first = round(start * self.rate) if scene.sound not in SUSTAINED else 0
            length = min(len(part_S), samples - first)
            own_S[first : first + length] += part_S[:length]
        track_S = _level(own_S, _PEAK)
        if scene.other is not None:
            track_S += self._outside(scene, scene.other, samples, generator)
        return as_waveform(np.clip(track_S, -0.99, 0.99))

    def _outside(self, scene: AvScene, other: Other, samples: int, generator: np.random.Generator) -> Waveform:
        """Return one or two shots of a sound from outside the picture, waveform_S."""
        total_S = np.zeros(samples, np.float32)
        source = self.bank.draw(CLASSES[other], "foreground", scene.split, generator)
        shot_S = self.bank.render(source, samples, scene.split, generator)
        first = int(OUTSIDE.draw(scene.split, generator) * samples)
        length = min(len(shot_S), samples - first)
        total_S[first : first + length] = _level(shot_S, _OUTSIDE_LEVEL)[:length]
        return total_S

    def shaped(self, seconds: float, low: float, high: float, generator: np.random.Generator) -> Waveform:
        """Return noise between two frequencies, of unit deviation."""
        noise_S = self.noise.shaped(round(seconds * self.rate), self.rate, generator, band(low, high))
        return as_waveform(noise_S / (noise_S.std() + 1e-12))


def _thud(sounds: Sounds, pitch: float, when: Timing, generator: np.random.Generator) -> Waveform:
    """A dull blow of two modes that die at once."""
    return partials([0.5 * pitch, 0.9 * pitch], [0.06, 0.03], [1.0, 0.5], round(0.35 * sounds.rate), sounds.rate)


def _beep(sounds: Sounds, pitch: float, when: Timing, generator: np.random.Generator) -> Waveform:
    """A steady electronic tone as long as the flash."""
    samples = round(FLASH * sounds.rate)
    tone_S = harmonics(phase(np.full(samples, 2 * pitch), sounds.rate), [1.0, 0.0, 0.3, 0.0, 0.15])
    return as_waveform(tone_S * swell(samples, sounds.rate, 0.01, 0.02))


def _hum(sounds: Sounds, pitch: float, when: Timing, generator: np.random.Generator) -> Waveform:
    """A hum that is there from the beginning and fades as the thing leaves."""
    samples = round(when.seconds * sounds.rate)
    time_S = np.arange(samples) / sounds.rate
    gone_S = np.clip((time_S - when.starts[0]) / (0.5 * (when.seconds - when.starts[0])), 0, 1)
    tone_S = harmonics(phase(np.full(samples, 0.6 * pitch), sounds.rate), [1.0, 0.7, 0.5, 0.35, 0.25, 0.15])
    return as_waveform(tone_S * (1 - gone_S) ** 2)


def _crash(sounds: Sounds, pitch: float, when: Timing, generator: np.random.Generator) -> Waveform:
    """A burst of noise around a pitch that clatters out."""
    burst_S = sounds.shaped(0.8, 1.5 * pitch, 12 * pitch, generator)
    time_S = np.arange(len(burst_S)) / sounds.rate
    clatter_S = 0.4 + 0.6 * (np.sin(2 * np.pi * 11 * time_S) > 0)
    return as_waveform(burst_S * clatter_S * np.exp(-time_S / 0.18))


def _whirr(sounds: Sounds, pitch: float, when: Timing, generator: np.random.Generator) -> Waveform:
    """Noise that swells with every turn, from the moment at which the turning begins."""
    noise_S = sounds.shaped(when.seconds, 0.8 * pitch, 3 * pitch, generator)
    time_S = np.arange(len(noise_S)) / sounds.rate
    turn_S = 0.5 - 0.5 * np.cos(2 * np.pi * 4 * when.spin * np.maximum(time_S - when.starts[0], 0))
    return as_waveform(noise_S * turn_S * (time_S >= when.starts[0]))


def _rise(sounds: Sounds, pitch: float, when: Timing, generator: np.random.Generator) -> Waveform:
    """A tone that rises by an octave and a half as the thing grows."""
    samples = round(when.seconds * sounds.rate)
    time_S = np.arange(samples) / sounds.rate
    grown_S = np.clip((time_S - when.starts[0]) / (when.seconds - when.starts[0]), 0, 1)
    tone_S = harmonics(phase(pitch * 2 ** (1.5 * grown_S), sounds.rate), [1.0, 0.4, 0.2])
    return as_waveform(tone_S * (time_S >= when.starts[0]) * swell(samples, sounds.rate, 0.02, 0.1))


VOICES: dict[Action, Callable[[Sounds, float, Timing, np.random.Generator], Waveform]] = {
    "hit": _thud,
    "blink": _beep,
    "leave": _hum,
    "fall": _crash,
    "spin": _whirr,
    "grow": _rise,
}
SUSTAINED = frozenset({"leave", "spin", "grow"})
"""Actions whose sound is made for the whole clip; that of the others for each moment."""


def _level(waveform_S: Waveform, peak: float) -> Waveform:
    return as_waveform(waveform_S * (peak / (np.abs(waveform_S).max() + 1e-9)))
