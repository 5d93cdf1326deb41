"""Render a planned scene: background, events at their signal-to-noise ratios, fades, a peak below full scale."""

from __future__ import annotations

import numpy as np
from fusion_train.datasets.scenes.bank import Bank
from fusion_train.datasets.scenes.graph import PlannedEvent, Scene
from fusion_train.datasets.scenes.options import SPLITS
from fusion_train.datasets.scenes.signals import Noise, Waveform, swell
from numpy.typing import NDArray

BACKGROUND_RMS = 0.025
"""RMS of the background before the clip is normalised; the levels of the events refer to it, with or without one."""

LOUDEST_PEAK = 0.8
"""An event whose peak would pass this is turned down, so that one click does not drown the rest of the clip."""

PEAKS = (-6.0, -1.0)
"""Peak of a clip in dBFS, uniform."""

JITTER = 1.5
"""How far (dB) one shot of a series may be louder or softer than the others."""

FLOOR_RMS = 10 ** (-70 / 20)
"""RMS of the recorder's own noise in every clip: no recording is digitally silent."""

_FADE = (0.003, 0.03)
_FRAME = 0.05


class Composer:
    """Renders the scenes of one dataset at ``rate`` Hz; each worker process has its own."""

    def __init__(self, bank: Bank, rate: int, seed: int) -> None:
        self.bank = bank
        self.rate = rate
        self.seed = seed
        self._floor = Noise((seed, len(SPLITS)))

    def render(self, scene: Scene) -> NDArray[np.int16]:
        """Return the clip as 16-bit samples_S; it depends on the scene and the seed alone."""
        generator = np.random.default_rng([self.seed, SPLITS.index(scene.split), scene.index, 3])
        samples = round(scene.seconds * self.rate)
        mix_S: Waveform = FLOOR_RMS * self._floor.white(samples, generator)
        for event in scene.events:
            start = round(event.onset * self.rate)
            event_S = self._event(event, scene, generator)[: samples - start]
            mix_S[start : start + len(event_S)] += event_S
        peak = 10 ** (generator.uniform(*PEAKS) / 20)
        scaled_S = mix_S * np.float32(peak * np.iinfo(np.int16).max / np.abs(mix_S).max())
        clip_S: NDArray[np.int16] = np.round(scaled_S).astype(np.int16)
        return clip_S

    def _event(self, event: PlannedEvent, scene: Scene, generator: np.random.Generator) -> Waveform:
        """Return an event at its level, with short fades; a series of shots repeats one shot."""
        samples = round(event.seconds * self.rate)
        sound_S = self.bank.render(event.source, samples, scene.split, generator)[:samples]
        sound_S = sound_S * (_gain(sound_S, event.level, self.rate) * swell(len(sound_S), self.rate, *_FADE))
        if not event.count or event.count == 1:
            return sound_S
        series_S = np.zeros(samples, np.float32)
        for number in range(event.count):
            start = round(number * event.interval * self.rate)
            jitter = np.float32(10 ** (generator.uniform(-JITTER, JITTER) / 20))
            piece_S = sound_S[: samples - start]
            series_S[start : start + len(piece_S)] += jitter * piece_S
        return series_S


def _gain(sound_S: Waveform, level: float, rate: int) -> np.float32:
    """Return the factor that brings a sound to a level (dB over the background).

    The RMS is that of the louder half of its frames, so that pauses within a sound do not make it louder.
    """
    frame = max(1, min(int(_FRAME * rate), len(sound_S)))
    frames_NS = sound_S[: len(sound_S) // frame * frame].reshape(-1, frame)
    powers_N = np.sort(np.einsum("ns,ns->n", frames_NS, frames_NS) / frame)
    rms = float(np.sqrt(powers_N[len(powers_N) // 2 :].mean())) + 1e-9
    peak = float(np.abs(sound_S).max()) + 1e-9
    return np.float32(min(BACKGROUND_RMS * 10 ** (level / 20) / rms, LOUDEST_PEAK / peak))
