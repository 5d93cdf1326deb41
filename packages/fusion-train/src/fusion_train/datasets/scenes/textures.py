"""Synthesised sounds that last through a scene; times in s, frequencies and rates in Hz."""

from __future__ import annotations

import numpy as np
from fusion_train.datasets.scenes.parameters import Parameter
from fusion_train.datasets.scenes.signals import Waveform, as_waveform, band, click, overlay, random_starts, resonance
from fusion_train.datasets.scenes.voice import Event, Voice


def rain(event: Event) -> Waveform:
    """Hiss of many drops, and single drops that can be told apart."""
    hiss_S = event.shaped(band(event["hiss"], 6 * event["hiss"], 1))
    drop_S = click(event["drop_pitch"], 0.003, event.rate, event.generator)
    starts = random_starts(event.seconds, event["drop_rate"], event.generator) * event.rate
    gains = event.generator.exponential(event["drop_level"], len(starts))
    return as_waveform(hiss_S + overlay(event.samples, drop_S, starts, gains))


def wind(event: Event) -> Waveform:
    """Low rumble in gusts, with a howl that moves with them."""
    howl = event["howl"]
    rumble_S = event.shaped(band(40, event["rumble"], 1))
    howl_S = event.shaped(lambda frequencies: resonance(frequencies, howl, 0.05 * howl))
    gust_S = 0.5 + 0.5 * np.sin(2 * np.pi * (event["gust_rate"] * event.time + event.generator.uniform()))
    gust_S = (1 - event["gust_depth"]) + event["gust_depth"] * gust_S.astype(np.float32)
    return as_waveform(rumble_S * gust_S + 0.6 * howl_S * gust_S**2)


def waves(event: Event) -> Waveform:
    """Broadband noise that swells as each wave breaks, then hisses back."""
    roar_S = event.shaped(band(100, event["roar"], 1))
    hiss_S = event.shaped(band(2_000, event["hiss"], 1))
    cycle_S = (event.time * event["wave_rate"] + event.generator.uniform()) % 1
    swell_S = np.where(cycle_S < 0.35, (cycle_S / 0.35) ** 2, np.exp(-(cycle_S - 0.35) * event["retreat"]))
    swell_S = swell_S.astype(np.float32)
    return as_waveform(roar_S * (0.08 + swell_S) + 0.6 * hiss_S * swell_S**2)


def fire(event: Event) -> Waveform:
    """Sparse sharp crackles over a faint low flutter."""
    total_S = 0.6 * event.shaped(band(40, event["flutter"], 1))
    for pitch, share in ((event["crack_pitch"], 0.6), (1.9 * event["crack_pitch"], 0.4)):
        crack_S = click(pitch, event["crack_decay"], event.rate, event.generator)
        starts = random_starts(event.seconds, event["crack_rate"] * share, event.generator) * event.rate
        gains = 3 * event.generator.pareto(2.5, len(starts)).clip(0.2, 1.5)
        total_S = total_S + overlay(event.samples, crack_S, starts, gains)
    return total_S


def crickets(event: Event) -> Waveform:
    """A high tone in pulses, the pulses in groups."""
    time_S = event.time
    tone_S = np.sin(2 * np.pi * event["pitch"] * time_S) + 0.3 * np.sin(2 * np.pi * 1.03 * event["pitch"] * time_S)
    pulse_S = np.maximum(np.sin(2 * np.pi * event["pulse_rate"] * time_S), 0) ** 2
    group_S = (time_S * event["group_rate"] + event.generator.uniform()) % 1 < event["group_share"]
    return as_waveform(tone_S * pulse_S * (0.05 + group_S))


TEXTURES = (
    Voice(
        "rain",
        rain,
        (
            Parameter("hiss", 900, 2_600, "Hz"),
            Parameter("drop_pitch", 2_500, 7_000, "Hz"),
            Parameter("drop_rate", 25, 90, "1/s"),
            Parameter("drop_level", 1.0, 3.0, "times the hiss"),
        ),
    ),
    Voice(
        "wind blowing",
        wind,
        (
            Parameter("rumble", 150, 450, "Hz"),
            Parameter("howl", 350, 900, "Hz"),
            Parameter("gust_rate", 0.15, 0.5, "Hz"),
            Parameter("gust_depth", 0.4, 0.9, "share", "linear"),
        ),
    ),
    Voice(
        "sea waves",
        waves,
        (
            Parameter("roar", 500, 1_400, "Hz"),
            Parameter("hiss", 4_000, 9_000, "Hz"),
            Parameter("wave_rate", 0.18, 0.4, "Hz"),
            Parameter("retreat", 3.0, 7.0, "1/wave"),
        ),
    ),
    Voice(
        "fire crackling",
        fire,
        (
            Parameter("flutter", 120, 400, "Hz"),
            Parameter("crack_pitch", 1_200, 3_500, "Hz"),
            Parameter("crack_rate", 8, 25, "1/s"),
            Parameter("crack_decay", 0.001, 0.004, "s"),
        ),
    ),
    Voice(
        "crickets chirping",
        crickets,
        (
            Parameter("pitch", 3_600, 6_000, "Hz"),
            Parameter("pulse_rate", 22, 45, "Hz"),
            Parameter("group_rate", 1.5, 4.0, "Hz"),
            Parameter("group_share", 0.35, 0.7, "share", "linear"),
        ),
    ),
)
