"""The sentences of the methods appendix say what the encoders do."""

from __future__ import annotations

from fusion_encoders.aisfx import AisfxEncoder
from fusion_encoders.clap import ClapEncoder, FusedClapEncoder
from fusion_encoders.logmel import LogMelEncoder
from fusion_encoders.protocol import audio_protocol
from fusion_encoders.registry import ENCODERS


def test_every_encoder_of_ours_states_its_rate() -> None:
    for encoder in (AisfxEncoder, ClapEncoder, FusedClapEncoder, LogMelEncoder):
        assert encoder.name in ENCODERS.names()
        text = " ".join(audio_protocol(encoder.name))
        assert f"{encoder.sample_rate:,} Hz" in text
        assert "left out and counted" in text


def test_an_encoder_of_another_package_is_told_so() -> None:
    assert "by the package that brings it" in " ".join(audio_protocol("another"))
