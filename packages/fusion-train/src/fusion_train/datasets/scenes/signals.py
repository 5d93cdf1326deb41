"""Building blocks of synthesised sounds, all float32 and vectorised.

Shapes: S samples, K partials, N positions. Frequencies and rates are in Hz, times in s.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

Waveform = NDArray[np.float32]

_POOL_SAMPLES = 1 << 21


class Noise:
    """White Gaussian noise from a pool that is drawn once; each call takes a random piece of it.

    Drawing a pool once a process and split instead of noise for every event halves the time of a clip.
    """

    def __init__(self, seed: tuple[int, ...]) -> None:
        self._pool = np.random.default_rng(seed).standard_normal(_POOL_SAMPLES, dtype=np.float32)

    def white(self, samples: int, generator: np.random.Generator) -> Waveform:
        """Return noise_S with unit variance; a view of the pool that must not be written to."""
        repeats = -(-samples // _POOL_SAMPLES) + 1
        pool = self._pool if samples <= _POOL_SAMPLES // 2 else np.tile(self._pool, repeats)
        start = int(generator.integers(len(pool) - samples))
        return pool[start : start + samples]

    def shaped(
        self, samples: int, rate: int, generator: np.random.Generator, shape: Callable[[Waveform], ArrayLike]
    ) -> Waveform:
        """Return noise_S whose amplitude spectrum is ``shape(frequencies)``.

        The spectrum is drawn, shaped and transformed once; that is faster than filtering in time.
        """
        length = fft.next_fast_len(samples, real=True)
        bins = length // 2 + 1
        spectrum = self.white(2 * bins, generator).view(np.complex64)
        frequencies = np.linspace(0, rate / 2, bins, dtype=np.float32)
        shaped = spectrum * np.asarray(shape(frequencies), dtype=np.float32)
        waveform: Waveform = fft.irfft(shaped, length)[:samples]
        return waveform


def as_waveform(samples_S: ArrayLike) -> Waveform:
    """Return samples_S as float32."""
    return np.asarray(samples_S, dtype=np.float32)


def times(samples: int, rate: int) -> Waveform:
    """Return the time_S of each sample."""
    return np.arange(samples, dtype=np.float32) / np.float32(rate)


def band(low: float, high: float, steepness: int = 2) -> Callable[[Waveform], Waveform]:
    """Return the amplitude response of a band from ``low`` to ``high``, Butterworth-like at both ends."""

    def shape(frequencies: Waveform) -> Waveform:
        squared = np.maximum(frequencies, 1e-3) ** 2
        below = 1 / (1 + (low * low / squared) ** steepness)
        above = 1 / (1 + (squared / (high * high)) ** steepness)
        return as_waveform(np.sqrt(below * above))

    return shape


def phase(frequency_S: ArrayLike, rate: int) -> Waveform:
    """Return the running phase_S (rad) of an oscillator with a frequency at each sample."""
    cycles = np.cumsum(np.asarray(frequency_S, dtype=np.float64)) / rate
    return as_waveform(2 * np.pi * (cycles % 1.0))


def harmonics(phase_S: Waveform, amplitudes_K: ArrayLike) -> Waveform:
    """Return the sum of the harmonics 1..K of a phase, by the recurrence of sin(kx) (one sine and one cosine)."""
    amplitudes = np.asarray(amplitudes_K, dtype=np.float32)
    before, current = np.zeros_like(phase_S), np.sin(phase_S)
    twice_cosine = 2 * np.cos(phase_S)
    total: Waveform = amplitudes[0] * current
    for amplitude in amplitudes[1:]:
        before, current = current, twice_cosine * current - before
        total += amplitude * current
    return total


def partials(
    frequencies_K: ArrayLike, decays_K: ArrayLike, amplitudes_K: ArrayLike, samples: int, rate: int
) -> Waveform:
    """Return the sum of decaying sines; ``decays_K`` are the times (s) to fall to 1/e."""
    time_S = times(samples, rate)
    total = np.zeros(samples, np.float32)
    columns = (np.asarray(column, dtype=np.float32) for column in (frequencies_K, decays_K, amplitudes_K))
    for frequency, decay, amplitude in zip(*columns, strict=True):
        if frequency < rate / 2:
            total += amplitude * np.exp(-time_S / decay) * np.sin(2 * np.pi * frequency * time_S)
    return total


def resonance(frequencies: Waveform, centre: float, width: float) -> Waveform:
    """Return the amplitude response of a resonance at ``centre`` whose half-width is ``width``."""
    return as_waveform(1 / np.sqrt(1 + ((frequencies - centre) / width) ** 2))


def swell(samples: int, rate: int, attack: float, release: float) -> Waveform:
    """Return an envelope_S that rises over ``attack`` and falls over ``release``, as raised cosines."""
    envelope = np.ones(samples, np.float32)
    for seconds, end in ((attack, False), (release, True)):
        length = min(int(seconds * rate), samples)
        ramp = (0.5 - 0.5 * np.cos(np.pi * np.arange(length) / max(length, 1))).astype(np.float32)
        if length and end:
            envelope[-length:] *= ramp[::-1]
        elif length:
            envelope[:length] *= ramp
    return envelope


def overlay(samples: int, template_S: Waveform, starts_N: ArrayLike, gains_N: ArrayLike) -> Waveform:
    """Return a waveform with a copy of the template, times a gain, at every start (sample); copies may overlap."""
    total = np.zeros(samples + len(template_S), np.float32)
    for start, gain in zip(np.asarray(starts_N, dtype=int), np.asarray(gains_N, dtype=np.float32), strict=True):
        total[start : start + len(template_S)] += gain * template_S
    return total[:samples]


def click(pitch: float, decay: float, rate: int, generator: np.random.Generator) -> Waveform:
    """Return a damped burst, half tone and half noise, that falls to 1/e in ``decay`` s."""
    time_S = times(max(int(6 * decay * rate), 1), rate)
    burst_S = np.sin(2 * np.pi * pitch * time_S) + 0.5 * generator.standard_normal(len(time_S), dtype=np.float32)
    return as_waveform(burst_S * np.exp(-time_S / decay))


def regular_starts(
    seconds: float, events_per_second: float, generator: np.random.Generator, jitter: float = 0.0
) -> NDArray[np.float64]:
    """Return the times_N (s) of events at a steady rate; ``jitter`` is a share of the period."""
    period = 1 / events_per_second
    starts = np.arange(generator.uniform(0, 0.2) * period, seconds, period)
    return np.clip(starts + generator.uniform(-jitter, jitter, len(starts)) * period, 0, seconds)


def random_starts(seconds: float, events_per_second: float, generator: np.random.Generator) -> NDArray[np.float64]:
    """Return the times_N (s) of a Poisson process, at least one."""
    count = max(1, int(generator.poisson(events_per_second * seconds)))
    return np.sort(generator.uniform(0, seconds, count))
