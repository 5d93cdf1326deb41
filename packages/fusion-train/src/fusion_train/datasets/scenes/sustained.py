"""Synthesised foreground sounds that last for seconds; times in s, frequencies and rates in Hz."""

from __future__ import annotations

import numpy as np
from fusion_train.datasets.scenes.parameters import Parameter
from fusion_train.datasets.scenes.signals import (
    Waveform,
    as_waveform,
    band,
    harmonics,
    overlay,
    partials,
    phase,
    random_starts,
    regular_starts,
    swell,
)
from fusion_train.datasets.scenes.voice import Event, Voice


def siren(event: Event) -> Waveform:
    """A horn-like tone whose pitch wails up and down."""
    cycle_S = event.time * event["wail_rate"] + event.generator.uniform()
    sweep_S = 0.5 - 0.5 * np.cos(2 * np.pi * cycle_S)
    pitch_S = event["low_pitch"] * (event["span"] ** sweep_S)
    return harmonics(phase(pitch_S, event.rate), event["brightness"] ** np.arange(6))


def engine(event: Event) -> Waveform:
    """The harmonics of the firing rate, uneven from stroke to stroke, with exhaust noise in their rhythm."""
    drift_S = 1 + 0.04 * np.sin(2 * np.pi * 0.7 * event.time + event.generator.uniform(0, 6))
    phase_S = phase(event["firing_rate"] * drift_S, event.rate)
    strength_K = event.generator.uniform(0.4, 1, 14) / np.arange(1, 15) ** event["rolloff"]
    exhaust_S = event.shaped(band(80, event["exhaust"], 1)) * (0.5 + 0.5 * np.cos(phase_S))
    return as_waveform(harmonics(phase_S, strength_K) + event["exhaust_level"] * exhaust_S)


def helicopter(event: Event) -> Waveform:
    """Thumps of low noise at the rate of the blades, and the whine of the turbine."""
    stroke_S = np.exp(event["sharpness"] * (np.cos(phase(np.full(event.samples, event["blade_rate"]), event.rate)) - 1))
    thump_S = event.shaped(band(50, event["thump"], 1)) * (0.06 + stroke_S)
    turbine_S = np.sin(phase(np.full(event.samples, event["turbine"]), event.rate))
    passing_S = swell(event.samples, event.rate, 0.3 * event.seconds, 0.3 * event.seconds)
    return as_waveform((thump_S + 0.03 * turbine_S) * (0.3 + 0.7 * passing_S))


def footsteps(event: Event) -> Waveform:
    """A thud of the heel and a scuff of the sole at a walking pace."""
    length = int(0.18 * event.rate)
    heel_S = partials([event["heel"], 2.3 * event["heel"]], [0.03, 0.012], [1, 0.5], length, event.rate)
    scuff_S = event.noise.shaped(length, event.rate, event.generator, band(event["scuff"], 3 * event["scuff"]))
    scuff_S = scuff_S / scuff_S.std() * swell(length, event.rate, 0.03, 0.12)
    step_S = heel_S + event["scuff_level"] * scuff_S
    starts = regular_starts(event.seconds, event["pace"], event.generator, jitter=0.04) * event.rate
    return overlay(event.samples, step_S, starts, event.generator.uniform(0.7, 1, len(starts)))


def clock(event: Event) -> Waveform:
    """Dry ticks at a steady rate, tick and tock at two pitches."""
    starts = regular_starts(event.seconds, event["tick_rate"], event.generator) * event.rate
    total_S = np.zeros(event.samples, np.float32)
    for side, pitch in enumerate((event["pitch"], event["pitch"] * event["tock"])):
        length = int(0.06 * event.rate)
        tick_S = partials([pitch, 2.7 * pitch], [event["decay"], 0.4 * event["decay"]], [1, 0.8], length, event.rate)
        total_S += overlay(event.samples, tick_S, starts[side::2], np.ones(len(starts[side::2])))
    return total_S


def bird(event: Event) -> Waveform:
    """A song of short whistled syllables, each with a fast sweep."""
    length = int(event["syllable"] * event.rate)
    position_S = np.linspace(0, 1, length)
    starts = regular_starts(event.seconds, event["syllable_rate"], event.generator, jitter=0.15) * event.rate
    total_S = np.zeros(event.samples, np.float32)
    shapes = (position_S, 1 - position_S, np.sin(np.pi * position_S), 0.5 + 0.5 * np.sin(6 * np.pi * position_S))
    choice_N = event.generator.integers(len(shapes), size=len(starts))
    for number, shape_S in enumerate(shapes):
        pitch_S = event["pitch"] * event["sweep"] ** (shape_S - 0.5)
        syllable_S = np.sin(phase(pitch_S, event.rate)) * np.sin(np.pi * position_S).astype(np.float32)
        chosen = starts[choice_N == number]
        total_S += overlay(event.samples, syllable_S, chosen, event.generator.uniform(0.5, 1, len(chosen)))
    return total_S


def alarm(event: Event) -> Waveform:
    """Electronic beeps: one steady tone, switched on and off."""
    place_S = (event.time * event["beep_rate"]) % 1
    slope = 0.002 * event["beep_rate"]  # switching takes 2 ms
    gate_S = np.clip(np.minimum(place_S, event["duty"] - place_S) / slope, 0, 1)
    amplitudes_K = [1, 0, event["edge"], 0, event["edge"] ** 2]
    return as_waveform(harmonics(phase(np.full(event.samples, event["pitch"]), event.rate), amplitudes_K) * gate_S)


def thunder(event: Event) -> Waveform:
    """A crack, then rolling claps of ever lower rumble."""
    deep_S = event.shaped(band(25, event["rumble"], 1))
    crack_S = event.shaped(band(300, event["crack"], 1)) * np.exp(-event.time / 0.12)
    starts = np.append(0.0, random_starts(event.seconds * 0.7, event["roll_rate"], event.generator))
    roll_S = np.zeros(event.samples, np.float32)
    for start, gain in zip(starts, event.generator.uniform(0.3, 1, len(starts)), strict=True):
        since_S = np.maximum(event.time - np.float32(start), 0)
        roll_S += gain * np.exp(-since_S / event["decay"]) * np.minimum(since_S / 0.05, 1)
    return as_waveform(deep_S * roll_S + 0.4 * crack_S)


def chainsaw(event: Event) -> Waveform:
    """A harsh two-stroke buzz that revs up and down."""
    rev_S = 0.5 - 0.5 * np.cos(2 * np.pi * (event["rev_rate"] * event.time + event.generator.uniform()))
    phase_S = phase(event["pitch"] * event["rev_span"] ** rev_S, event.rate)
    buzz_S = np.tanh(event["drive"] * harmonics(phase_S, 1 / np.arange(1, 25) ** 0.5))
    rasp_S = event.shaped(band(1_500, 6_000, 1))
    return as_waveform(buzz_S + 0.35 * rasp_S * (0.3 + 0.7 * np.maximum(np.cos(phase_S), 0)))


def baby(event: Event) -> Waveform:
    """Wails of one breath each: a pitch that rises and falls, with the formants of an open vowel."""
    cry_S = (event.time * event["cry_rate"] + 0.02) % 1
    voiced_S = np.where(cry_S < 0.72, np.sin(np.pi * np.minimum(cry_S / 0.72, 1)), 0).astype(np.float32) ** 0.5
    bend_S = 1 + event["bend"] * np.sin(np.pi * np.minimum(cry_S / 0.72, 1))
    vibrato_S = 1 + 0.02 * np.sin(2 * np.pi * 7 * event.time)
    numbers_K = np.arange(1, 13)
    formants_K = sum(
        np.exp(-((numbers_K * event["pitch"] - centre) ** 2) / (2 * 350**2)) for centre in (event["formant"], 3_300)
    )
    return as_waveform(harmonics(phase(event["pitch"] * bend_S * vibrato_S, event.rate), 0.05 + formants_K) * voiced_S)


SUSTAINED = (
    Voice(
        "siren",
        siren,
        (
            Parameter("low_pitch", 450, 800, "Hz"),
            Parameter("span", 1.6, 2.4, "ratio"),
            Parameter("wail_rate", 0.3, 0.9, "Hz"),
            Parameter("brightness", 0.3, 0.6, "ratio", "linear"),
        ),
    ),
    Voice(
        "car engine",
        engine,
        (
            Parameter("firing_rate", 28, 70, "Hz"),
            Parameter("rolloff", 0.5, 1.2, "exponent", "linear"),
            Parameter("exhaust", 250, 900, "Hz"),
            Parameter("exhaust_level", 0.3, 0.9, "times the tone"),
        ),
    ),
    Voice(
        "helicopter",
        helicopter,
        (
            Parameter("blade_rate", 9, 18, "Hz"),
            Parameter("sharpness", 2.5, 6.0, "exponent"),
            Parameter("thump", 300, 900, "Hz"),
            Parameter("turbine", 1_500, 3_500, "Hz"),
        ),
    ),
    Voice(
        "footsteps",
        footsteps,
        (
            Parameter("pace", 1.6, 2.6, "1/s"),
            Parameter("heel", 90, 220, "Hz"),
            Parameter("scuff", 1_200, 3_000, "Hz"),
            Parameter("scuff_level", 0.15, 0.5, "times the heel"),
        ),
    ),
    Voice(
        "clock ticking",
        clock,
        (
            Parameter("tick_rate", 2.0, 5.0, "1/s"),
            Parameter("pitch", 1_800, 4_200, "Hz"),
            Parameter("tock", 0.72, 0.92, "ratio"),
            Parameter("decay", 0.003, 0.01, "s"),
        ),
    ),
    Voice(
        "bird singing",
        bird,
        (
            Parameter("pitch", 2_400, 4_800, "Hz"),
            Parameter("sweep", 1.3, 2.2, "ratio"),
            Parameter("syllable", 0.05, 0.14, "s"),
            Parameter("syllable_rate", 4, 9, "1/s"),
        ),
    ),
    Voice(
        "alarm beeping",
        alarm,
        (
            Parameter("pitch", 900, 2_400, "Hz"),
            Parameter("beep_rate", 2.0, 5.0, "1/s"),
            Parameter("duty", 0.35, 0.65, "share", "linear"),
            Parameter("edge", 0.1, 0.4, "ratio"),
        ),
    ),
    Voice(
        "thunder",
        thunder,
        (
            Parameter("rumble", 70, 180, "Hz"),
            Parameter("crack", 1_200, 4_000, "Hz"),
            Parameter("decay", 0.35, 0.9, "s"),
            Parameter("roll_rate", 0.8, 2.0, "1/s"),
        ),
    ),
    Voice(
        "chainsaw",
        chainsaw,
        (
            Parameter("pitch", 85, 140, "Hz"),
            Parameter("rev_span", 1.3, 1.9, "ratio"),
            Parameter("rev_rate", 0.3, 0.8, "Hz"),
            Parameter("drive", 1.0, 3.0, "gain"),
        ),
    ),
    Voice(
        "baby crying",
        baby,
        (
            Parameter("pitch", 380, 560, "Hz"),
            Parameter("bend", 0.1, 0.3, "ratio"),
            Parameter("cry_rate", 0.8, 1.5, "Hz"),
            Parameter("formant", 1_000, 1_500, "Hz"),
        ),
    ),
)
