"""aiSFX: a convolutional network trained on sound-effect libraries, run over a whole clip for a sequence of frames.

A. B. Ma and A. Lerch, "Representation Learning for the Automatic Indexing of Sound Effects Libraries", ISMIR 2022. The
weights are theirs, under CC BY 4.0; they are read from the installed package ``aisfx``, whose code is not used.

The network ends in a mean over frequency and, in its paper, a maximum over the time of a block. Here it runs fully
convolutionally and the maximum is left to the reader of the frames: 512 values for every 8 x 1024 samples (5.4 Hz).

Shapes: S samples, N spectrogram frames, M mel bands, T frames, A encoder width.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from functools import cached_property

import torch
from fusion_core.files import sha256_file
from torch import Tensor
from torch.nn import functional

from fusion_encoders.aisfx_weights import converted_weights, read_weights
from fusion_encoders.audio import RESAMPLING
from fusion_encoders.base import FrozenEncoder, sha256_of_settings
from fusion_encoders.mel import MelSettings, mel_power
from fusion_encoders.precision import Precision, resolve_precision

_MEL = MelSettings(sample_rate=44_100, window=2048, hop=1024, bands=96, low=0.0, high=22_050.0, unit_sum=True)
_LOG_GAIN = 10_000.0
_LOG_SCALE = 9.457798957824707
"""The largest log10(gain * mel + 1) in the training data of the paper."""

_WIDTHS = (64, 128, 256, 512)
_STRIDE = 8
"""Spectrogram frames a feature frame: three poolings by two."""
_HALO = 32
"""Spectrogram frames on either side that a feature frame can see (30), rounded up to the stride."""
_SPAN = 2048
"""Spectrogram frames run through the network at once; a longer clip is run in spans, so that memory stays bounded."""


class AisfxEncoder(FrozenEncoder):
    """The frozen aiSFX network: 512-d frames at 5.4 Hz from mono audio at 44.1 kHz.

    ``dtype`` is the precision of the convolutions: ``auto`` is the faster of
    bfloat16 and float32 on this machine. It is part of the preprocessing hash, so cached features of two precisions never mix.

    Raises:
        ConfigError: ``dtype`` is none of the three.
        MissingAssetError: the package with the weights is not installed.
    """

    name = "aisfx"
    width = _WIDTHS[-1]
    sample_rate = _MEL.sample_rate

    def __init__(self, dtype: Precision = "auto") -> None:
        self.dtype = resolve_precision(dtype, self.name)
        self._weights_path = converted_weights()
        self.weights_sha256 = sha256_file(self._weights_path)
        self.preprocessing_sha256 = sha256_of_settings(
            {
                "mel": _MEL.as_dict(),
                "log": [_LOG_GAIN, _LOG_SCALE],
                "peak_normalised": True,
                "span": [_SPAN, _HALO],
                "dtype": str(self.dtype),
                "resampling": RESAMPLING,
            }
        )

    @cached_property
    def _network(self) -> AisfxNetwork:
        return AisfxNetwork(read_weights(self._weights_path), self.dtype)

    @torch.no_grad()
    def encode(self, waveform_S: Tensor) -> Tensor:
        """Return the frames x_TA (float32) of a mono waveform at 44.1 kHz; T = max(1, (1 + S // 1024) // 8)."""
        logmel_NM = log_mel(waveform_S)
        return torch.cat([self._network(span_NM)[kept] for span_NM, kept in _spans(logmel_NM)])


def log_mel(waveform_S: Tensor) -> Tensor:
    """Return the input of the network: the scaled log-mel spectrogram logmel_NM of the peak-normalised clip."""
    peak = waveform_S.abs().max()
    normalised_S = waveform_S / peak if peak > 0 else waveform_S
    shortest = (_STRIDE - 1) * _MEL.hop
    if len(normalised_S) < shortest:
        normalised_S = functional.pad(normalised_S, (0, shortest - len(normalised_S)))
    return torch.log10(mel_power(normalised_S, _MEL) * _LOG_GAIN + 1) / _LOG_SCALE


class AisfxNetwork:
    """The four convolution blocks with their batch norms folded in.

    A block is two 3x3 convolutions with batch norm and ReLU, then max pooling by 2x2 (none after the last block); the
    frames are the mean over the mel axis. Pooling comes before the second ReLU here: both orders give the same bits.
    """

    def __init__(self, state: Mapping[str, Tensor], dtype: torch.dtype = torch.float32) -> None:
        self._dtype = dtype
        self._convolutions = []
        for block, layer in itertools.product(range(1, len(_WIDTHS) + 1), (1, 2)):
            weight, bias = fold_batch_norm(state, f"conv_block{block}.conv{layer}", f"conv_block{block}.bn{layer}")
            weight = weight.to(dtype=dtype, memory_format=torch.channels_last)
            self._convolutions.append((weight, bias.to(dtype)))

    def __call__(self, logmel_NM: Tensor) -> Tensor:
        """Return the frames x_TA (float32) of a log-mel spectrogram, T = N // 8."""
        x = logmel_NM[None, None].to(dtype=self._dtype, memory_format=torch.channels_last)
        for position, (weight, bias) in enumerate(self._convolutions):
            x = functional.conv2d(x, weight, bias, padding=1)
            if position in (1, 3, 5):
                x = functional.max_pool2d(x, 2)
            x = functional.relu_(x)
        x_AT = x[0].float().mean(dim=2)
        return x_AT.T.contiguous()


def fold_batch_norm(state: Mapping[str, Tensor], convolution: str, norm: str) -> tuple[Tensor, Tensor]:
    """Return the weight and bias of one convolution that equals a bias-free convolution followed by a batch norm.

    y = g (W x - mean) / sqrt(var + 1e-5) + b, computed in float64.
    """
    gain, shift, mean, variance = (
        state[f"{norm}.{part}"].double() for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gain / torch.sqrt(variance + 1e-5)
    weight = state[f"{convolution}.weight"].double() * scale[:, None, None, None]
    return weight.float(), (shift - mean * scale).float()


def _spans(logmel_NM: Tensor) -> Iterator[tuple[Tensor, slice]]:
    """Cut a spectrogram into overlapping spans; yield each with the slice of its feature frames to keep."""
    frames = len(logmel_NM)
    for start in range(0, frames - frames % _STRIDE, _SPAN):
        before = min(start, _HALO)
        stop = min(start + _SPAN + _HALO, frames)
        yield logmel_NM[start - before : stop], slice(before // _STRIDE, (before + _SPAN) // _STRIDE)
