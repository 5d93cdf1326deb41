"""Decode a video file: its frames at a stated rate, and the sound track of the same file.

Frames are chosen by their own time stamps, so a file of variable rate is read as it is shown. Decoding is decord's (FFmpeg).

Shapes: T frames, H and W pixels, S samples, C channels. Times are in seconds, rates in Hz.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from fusion_core.errors import MissingAssetError
from numpy.typing import NDArray
from torch import Tensor

from fusion_encoders.faults import FaultStatus, MediaFault, require_content

VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"})
MINIMUM_SECONDS = 0.1
LARGEST_SHORTER_SIDE = 360
"""Larger videos are made smaller while they are decoded: encoders see at most 224 pixels a side."""

FRAME_CHOICE = "decord; the frame that is shown in the middle of each interval; at most 360 pixels on the shorter side"
"""The decoding that the preprocessing hash of every encoder of video covers."""

_ISO_SUFFIXES = frozenset({".m4v", ".mov", ".mp4"})
_NO_SOUND = "Can't find audio stream"
_ORIGIN = re.compile(r"^\[[\d:]+\] \S+:\d+: (ERROR opening: .*, )?")
"""What stands before the reason in decord's messages: time, line of its source, path of the file."""
Decoded = TypeVar("Decoded")


class VideoFault(MediaFault):
    """A video file that cannot be used, or whose sound track cannot."""


@dataclass(frozen=True)
class VideoInfo:
    """What the index of a video file says.

    Attributes:
        seconds: from the first frame to the end of the last.
        frames: their number.
        height: of the picture, pixels.
        width: of the picture, pixels.
        variable: whether frames are shown for different times.
    """

    seconds: float
    frames: int
    height: int
    width: int
    variable: bool

    @property
    def frame_rate(self) -> float:
        """The mean number of frames a second."""
        return self.frames / self.seconds


def probe_video(path: Path) -> VideoInfo:
    """Read the index of a video file and its first frame.

    Raises:
        VideoFault: the file is missing, empty, cut off, no video, or shorter than ``MINIMUM_SECONDS``.
        MissingAssetError: decord is not installed.
    """
    reader = _open(path)
    height, width = _decoded(lambda: reader[0].shape)[:2]
    times_T2 = _shown(reader)
    lengths_T = np.diff(times_T2[:, 0])
    variable = len(lengths_T) > 1 and float(lengths_T.max() - lengths_T.min()) > 0.25 * float(np.median(lengths_T))
    return VideoInfo(_seconds(times_T2), len(times_T2), int(height), int(width), variable)


def load_frames(path: Path, rate: float) -> Tensor:
    """Decode the frames of a video file at a rate: pixels_T3HW, RGB in uint8.

    A second is divided into ``rate`` intervals, and of each the frame that is shown in its middle is taken; a clip shorter than
    one interval gives one frame.

    Args:
        path: the file.
        rate: frames a second, whatever the rate of the file.

    Raises:
        VideoFault: the file is missing, empty, cut off, no video or too short, or a frame does not decode.
        MissingAssetError: decord is not installed.
    """
    reader = _open(path)
    height, width = (int(side) for side in _decoded(lambda: reader[0].shape)[:2])
    if min(height, width) > LARGEST_SHORTER_SIDE:
        scale = LARGEST_SHORTER_SIDE / min(height, width)
        reader = _open(path, height=round(height * scale), width=round(width * scale))
    times_T2 = _shown(reader)
    wanted = max(1, int(_seconds(times_T2) * rate + 1e-6))
    middles_T = times_T2[0, 0] + (np.arange(wanted) + 0.5) / rate
    index_T = np.searchsorted(times_T2[:, 0], middles_T, side="right") - 1
    pixels_THW3: NDArray[np.uint8] = _decoded(lambda: reader.get_batch(index_T.tolist()).asnumpy())
    return torch.from_numpy(pixels_THW3).permute(0, 3, 1, 2).contiguous()


def load_sound_track(path: Path, sample_rate: int) -> Tensor:
    """Decode the sound track of a video file to waveform_S: float32, the mean of the channels, at ``sample_rate`` Hz.

    Raises:
        VideoFault: the file is missing, empty, cut off or has no sound track, or the track is too short or not finite.
        MissingAssetError: decord is not installed.
    """
    _require_whole(path)
    decord = _decord()
    reader = _decoded(lambda: decord.AudioReader(str(path), sample_rate=sample_rate, mono=False), "audio")
    samples_CS: NDArray[np.float32] = _decoded(lambda: reader[:].asnumpy(), "audio")
    waveform_S = samples_CS.mean(axis=0, dtype=np.float32)
    if len(waveform_S) < MINIMUM_SECONDS * sample_rate:
        raise VideoFault("too_short", f"the sound track lasts {len(waveform_S) / sample_rate:.3f} s")
    if not np.isfinite(waveform_S).all():
        raise VideoFault("corrupt", "the sound track has samples that are NaN or infinite")
    return torch.from_numpy(waveform_S)


def _decord() -> Any:
    try:
        import decord
    except ImportError:
        raise MissingAssetError("Reading video needs decord: pip install 'fusion-encoders[video]'.") from None
    decord.logging.set_level(decord.logging.QUIET)
    return decord


def _open(path: Path, **size: int) -> Any:
    _require_whole(path)
    decord = _decord()
    return _decoded(lambda: decord.VideoReader(str(path), num_threads=1, **size))


def _decoded(read: Callable[[], Decoded], what: str = "video") -> Decoded:
    """Do some decoding; what decord says of a failure becomes the reason."""
    try:
        return read()
    except Exception as error:  # decord has no common type for its errors
        message = str(error)
        if _NO_SOUND in message:
            raise VideoFault("corrupt", "the file has no sound track") from None
        line = _ORIGIN.sub("", message.strip().splitlines()[0] if message.strip() else "")
        detail = f" ({line.strip(' .')})" if line and not line.startswith("Error reading") else ""
        raise VideoFault("corrupt", f"the file does not decode as {what}{detail}") from error


def _shown(reader: Any) -> NDArray[np.float64]:
    """Return from when to when each frame is shown, in the order of showing."""
    count = len(reader)
    if count < 1:
        raise VideoFault("corrupt", "the video has no frame")
    times_T2: NDArray[np.float64] = np.asarray(_decoded(lambda: reader.get_frame_timestamp(range(count))), np.float64)
    if _seconds(times_T2) < MINIMUM_SECONDS:
        status: FaultStatus = "too_short"
        raise VideoFault(status, f"the video lasts {_seconds(times_T2):.3f} s, less than {MINIMUM_SECONDS} s")
    return times_T2


def _seconds(times_T2: NDArray[np.float64]) -> float:
    return float(times_T2[-1, 1] - times_T2[0, 0])


def _require_whole(path: Path) -> None:
    """Refuse an MP4 that was cut off: its boxes say how long they are, and decoders would take it for a shorter clip."""
    require_content(path, VideoFault)
    if path.suffix.lower() not in _ISO_SUFFIXES:
        return
    size, place = path.stat().st_size, 0
    with path.open("rb") as stream:
        while place + 8 <= size:
            stream.seek(place)
            head = stream.read(16)
            length, kind = int.from_bytes(head[:4], "big"), head[4:8]
            if length == 1:
                length = int.from_bytes(head[8:16], "big")
            if length == 0 or not kind.isalnum():
                return  # to the end of the file, or no such file: the decoder says what is wrong
            place += max(length, 8)
    if place > size:
        raise VideoFault("corrupt", f"the file is cut off: {size} of {place} bytes are there")
