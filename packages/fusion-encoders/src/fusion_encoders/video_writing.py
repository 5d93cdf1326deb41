"""Writing of MP4 files: H.264 pictures and, where there is sound, an AAC track.

Equal pixels and samples give equal bytes under one version of PyAV: one thread encodes.

Shapes: T frames, H and W pixels, S samples.
"""

from __future__ import annotations

import os
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from fusion_core.errors import MissingAssetError
from numpy.typing import NDArray

_CLOCK = 1000
"""Time stamps of frames count milliseconds, so that frames may be shown for different times."""
_QUALITY = {"preset": "veryfast", "crf": "18", "threads": "1", "x264-params": "mbtree=0"}
"""No macroblock tree: with it and frames predicted from both sides x264 writes other bytes from time to time."""
_SOUND_BITS = 128_000


def write_video(
    path: Path,
    pixels_THW3: NDArray[np.uint8],
    times_T: NDArray[np.float64],
    waveform_S: NDArray[np.float32] | None = None,
    sample_rate: int = 44_100,
) -> None:
    """Write a video file, atomically.

    Args:
        path: where; the name ends in ``.mp4``.
        pixels_THW3: RGB frames, their sides even.
        times_T: when each is shown (s), rising.
        waveform_S: mono sound from -1 to 1; None writes no sound track.
        sample_rate: of the sound (Hz).

    Raises:
        MissingAssetError: PyAV is not installed.
        OSError: the disk is full.
    """
    try:
        import av
    except ImportError:
        raise MissingAssetError("Writing video needs PyAV: pip install 'fusion-encoders[video]'.") from None
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, working = tempfile.mkstemp(dir=path.parent, prefix=".writing-", suffix=".mp4")
    os.close(handle)
    try:
        with av.open(working, "w", options={"movflags": "+faststart"}) as container:
            # Both streams are made before the first packet is written.
            pictures = _picture_stream(container, pixels_THW3)
            sound = container.add_stream("aac", rate=sample_rate, layout="mono") if waveform_S is not None else None
            _write_pictures(container, pictures, pixels_THW3, times_T)
            if waveform_S is not None:
                _write_sound(container, sound, waveform_S, sample_rate)
        Path(working).replace(path)
    finally:
        Path(working).unlink(missing_ok=True)


def _picture_stream(container: Any, pixels_THW3: NDArray[np.uint8]) -> Any:
    stream = container.add_stream("libx264", rate=25, options=_QUALITY)
    stream.height, stream.width = pixels_THW3.shape[1:3]
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = stream.time_base = Fraction(1, _CLOCK)
    return stream


def _write_pictures(container: Any, stream: Any, pixels_THW3: NDArray[np.uint8], times_T: NDArray[np.float64]) -> None:
    import av

    for pixels_HW3, time in zip(pixels_THW3, times_T, strict=True):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels_HW3), "rgb24")
        frame.pts, frame.time_base = round(float(time) * _CLOCK), Fraction(1, _CLOCK)
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def _write_sound(container: Any, stream: Any, waveform_S: NDArray[np.float32], sample_rate: int) -> None:
    import av

    stream.bit_rate = _SOUND_BITS
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(waveform_S[None], np.float32), "fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = sample_rate, 0, Fraction(1, sample_rate)
    container.mux(stream.encode(frame))
    container.mux(stream.encode())
