"""Synthesised single shots, which a listener can count; ``seconds`` is the length of one. Frequencies in Hz."""

from __future__ import annotations

import numpy as np
from fusion_train.datasets.scenes.parameters import Parameter
from fusion_train.datasets.scenes.signals import Waveform, as_waveform, band, harmonics, partials, phase, swell
from fusion_train.datasets.scenes.voice import Event, Voice


def bell(event: Event) -> Waveform:
    """The strike of a large bell: inharmonic partials, the high ones dying first."""
    ratios_K = np.array([0.5, 1.0, 1.2, 1.5, 2.0, 2.5, 2.67, 3.0, 4.0, 5.33])
    levels_K = np.array([0.4, 1.0, 0.7, 0.5, 0.8, 0.35, 0.4, 0.3, 0.3, 0.2]) * event["brightness"] ** np.arange(10)
    decays_K = event["decay"] / np.sqrt(ratios_K)
    return partials(event["pitch"] * ratios_K, decays_K, levels_K, event.samples, event.rate)


def knock(event: Event) -> Waveform:
    """A knuckle on wood: a short dull thud of two modes and a little contact noise."""
    modes = [event["wood"], 1.8 * event["wood"]]
    thud_S = partials(modes, [event["decay"], 0.5 * event["decay"]], [1, 0.6], event.samples, event.rate)
    contact_S = event.shaped(band(400, 2_500)) * np.exp(-event.time / 0.004)
    return as_waveform(thud_S + event["contact"] * contact_S)


def glass(event: Event) -> Waveform:
    """A burst, then a shower of high ringing pieces."""
    pieces = 40
    total_S = 1.2 * event.shaped(band(2_500, 12_000)) * np.exp(-event.time / event["burst"])
    length = event.samples
    for start in np.sort(event.generator.exponential(0.25 * event.seconds, pieces)).clip(0, 0.9 * event.seconds):
        first = int(start * event.rate)
        pitch = event["ring"] * event.generator.uniform(0.6, 2.0)
        piece_S = partials(
            [pitch, 1.51 * pitch], [event["decay"], 0.6 * event["decay"]], [1, 0.5], length - first, event.rate
        )
        total_S[first:] += np.float32(event.generator.uniform(0.1, 0.6)) * piece_S
    return as_waveform(total_S)


def bark(event: Event) -> Waveform:
    """A bark: a pitch that drops, the formants of an open throat, and breath."""
    position_S = event.time / np.float32(event.seconds)
    pitch_S = event["pitch"] * (1 + 0.5 * np.exp(-position_S / 0.1) - 0.35 * position_S)
    numbers_K = np.arange(1, 17)
    formant = event["formant"]
    strength_K = np.exp(-(((numbers_K * event["pitch"]) - formant) ** 2) / (2 * (0.5 * formant) ** 2)) + 0.05
    breath_S = event.shaped(band(0.7 * formant, 2.5 * formant, 1))
    body_S = np.tanh(harmonics(phase(pitch_S, event.rate), strength_K)) + event["breath"] * breath_S
    return as_waveform(body_S * swell(event.samples, event.rate, 0.02, 0.7 * event.seconds))


def horn(event: Event) -> Waveform:
    """Two reeds a third apart, rich in harmonics."""
    amplitudes_K = event["brightness"] ** np.arange(10)
    total_S = np.zeros(event.samples, np.float32)
    for pitch in (event["pitch"], event["pitch"] * event["interval"]):
        total_S += harmonics(phase(np.full(event.samples, pitch), event.rate), amplitudes_K)
    return as_waveform(total_S * swell(event.samples, event.rate, 0.02, 0.04))


def gunshot(event: Event) -> Waveform:
    """A broadband crack and the tail of its echoes."""
    crack_S = event.shaped(band(60, 9_000, 1)) * np.exp(-event.time / event["crack"])
    tail_S = event.shaped(band(60, event["tail_edge"], 1)) * np.exp(-event.time / event["tail"])
    return as_waveform(crack_S + 0.25 * tail_S)


def doorbell(event: Event) -> Waveform:
    """Ding and dong: two soft chimes, the second lower."""
    half = int(0.42 * event.samples)
    total_S = np.zeros(event.samples, np.float32)
    for start, pitch in ((0, event["pitch"]), (half, event["pitch"] * event["drop"])):
        chime_S = partials(
            [pitch, 3 * pitch], [event["decay"], 0.3 * event["decay"]], [1, 0.25], event.samples - start, event.rate
        )
        total_S[start:] += chime_S
    return total_S


def rooster(event: Event) -> Waveform:
    """A crow in four syllables: harsh, each at its own pitch, the third one long and high."""
    syllables = ((0.0, 0.14, 0.8), (0.18, 0.3, 1.0), (0.34, 0.72, 1.25), (0.74, 1.0, 0.95))
    position_S = event.time / np.float32(event.seconds)
    pitch_S = np.full(event.samples, event["pitch"])
    level_S = np.zeros(event.samples, np.float32)
    for start, end, ratio in syllables:
        inside = (position_S >= start) & (position_S < end)
        within_S = (position_S[inside] - start) / (end - start)
        pitch_S[inside] = event["pitch"] * ratio * (1 + event["bend"] * (0.5 - within_S))
        level_S[inside] = np.sin(np.pi * within_S) ** 0.4
    rasp_S = 1 + event["rasp"] * np.sin(2 * np.pi * 75 * event.time)
    strength_K = np.array([0.5, 1.0, 0.9, 0.6, 0.45, 0.3, 0.2, 0.12])
    return as_waveform(harmonics(phase(pitch_S, event.rate), strength_K) * level_S * rasp_S)


SHOTS = (
    Voice(
        "church bell tolling",
        bell,
        (
            Parameter("seconds", 0.9, 1.6, "s"),
            Parameter("pitch", 280, 700, "Hz"),
            Parameter("decay", 0.5, 1.1, "s"),
            Parameter("brightness", 0.75, 1.0, "ratio", "linear"),
        ),
    ),
    Voice(
        "knocking on a door",
        knock,
        (
            Parameter("seconds", 0.1, 0.18, "s"),
            Parameter("wood", 160, 420, "Hz"),
            Parameter("decay", 0.012, 0.035, "s"),
            Parameter("contact", 0.15, 0.5, "times the thud"),
        ),
    ),
    Voice(
        "glass breaking",
        glass,
        (
            Parameter("seconds", 0.5, 0.9, "s"),
            Parameter("ring", 3_000, 6_000, "Hz"),
            Parameter("decay", 0.02, 0.08, "s"),
            Parameter("burst", 0.015, 0.05, "s"),
        ),
    ),
    Voice(
        "dog barking",
        bark,
        (
            Parameter("seconds", 0.18, 0.36, "s"),
            Parameter("pitch", 220, 520, "Hz"),
            Parameter("formant", 750, 1_500, "Hz"),
            Parameter("breath", 0.15, 0.5, "times the voice"),
        ),
    ),
    Voice(
        "car horn",
        horn,
        (
            Parameter("seconds", 0.3, 0.8, "s"),
            Parameter("pitch", 320, 480, "Hz"),
            Parameter("interval", 1.18, 1.3, "ratio"),
            Parameter("brightness", 0.7, 0.9, "ratio", "linear"),
        ),
    ),
    Voice(
        "gunshot",
        gunshot,
        (
            Parameter("seconds", 0.4, 0.8, "s"),
            Parameter("crack", 0.008, 0.03, "s"),
            Parameter("tail", 0.08, 0.25, "s"),
            Parameter("tail_edge", 500, 1_500, "Hz"),
        ),
    ),
    Voice(
        "doorbell ringing",
        doorbell,
        (
            Parameter("seconds", 0.9, 1.5, "s"),
            Parameter("pitch", 580, 950, "Hz"),
            Parameter("drop", 0.72, 0.86, "ratio"),
            Parameter("decay", 0.25, 0.6, "s"),
        ),
    ),
    Voice(
        "rooster crowing",
        rooster,
        (
            Parameter("seconds", 1.0, 1.7, "s"),
            Parameter("pitch", 480, 760, "Hz"),
            Parameter("bend", 0.05, 0.3, "ratio"),
            Parameter("rasp", 0.1, 0.4, "ratio"),
        ),
    ),
)
