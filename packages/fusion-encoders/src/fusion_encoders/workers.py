"""Encode media files in several processes; the results come back in the order of the clips.

A process encodes one clip at a time on one thread, so features do not depend on how many processes there are, and idle
threads never wait for one another.
"""

from __future__ import annotations

import multiprocessing
import time
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from fusion_core.errors import FusionError
from fusion_core.files import sha256_file
from fusion_core.processes import available_cores, follow_parent
from numpy.typing import NDArray

from fusion_encoders.base import FrozenEncoder
from fusion_encoders.faults import MediaFault

Outcome = NDArray[np.float16] | MediaFault
"""The frames x_TA of a clip, or why there are none."""

MOST_WORKERS = 16
_TRIAL_CLIPS = 8
_SECONDS_WORTH_A_POOL = 3.0
"""Starting the processes takes 2 to 3 s, most of it to import torch; a pool must save more than that."""
_CLIPS_AHEAD = 4
"""Clips a process that wait for it, so that none is idle and few results wait for a slow one."""


@dataclass(frozen=True)
class Clip:
    """A media file to encode: its id, its path and the SHA-256 of its bytes."""

    id: str
    path: Path
    sha256: str


class WorkerError(FusionError):
    """A worker process died."""


def default_workers(seconds: float) -> int:
    """Return how many processes are fastest for work that takes one of them that long: one a core, or none but this."""
    cores = available_cores()
    workers = min(cores, MOST_WORKERS)
    return workers if seconds * (1 - 1 / workers) > _SECONDS_WORTH_A_POOL else 1


def encode_clip(encoder: FrozenEncoder, clip: Clip) -> Outcome:
    """Return the frames x_TA of one media file, rounded to float16, or why there are none."""
    try:
        if sha256_file(clip.path) != clip.sha256:
            return MediaFault("corrupt", "the file has changed since the dataset was prepared: prepare it again")
        x_TA = encoder.encode(encoder.read(clip.path)).to(torch.float16)
    except MediaFault as fault:
        return fault
    except FileNotFoundError:
        return MediaFault("missing", "the file does not exist")
    except OSError as error:
        return MediaFault("corrupt", f"the file cannot be read ({error.strerror or error})")
    if not torch.isfinite(x_TA).all():
        return MediaFault("corrupt", f"encoder {encoder.name} gives values that are not finite in float16")
    frames: NDArray[np.float16] = x_TA.numpy()
    return frames


def encode_clips(encoder: FrozenEncoder, clips: Sequence[Clip], workers: int | None) -> Generator[tuple[Clip, Outcome]]:
    """Yield each clip with its frames or its fault, in order.

    ``workers`` of 1 encodes in this process; None times a few clips in this process and then chooses.

    Raises:
        WorkerError: a worker process died.
    """
    if workers is None:
        trial, clips = clips[:_TRIAL_CLIPS], clips[_TRIAL_CLIPS:]
        started = time.monotonic()
        yield from _encode_here(encoder, trial)
        workers = default_workers((time.monotonic() - started) / _TRIAL_CLIPS * len(clips))
    if min(workers, len(clips)) > 1:
        yield from _encode_in_processes(encoder, clips, min(workers, len(clips)))
    else:
        yield from _encode_here(encoder, clips)


def _encode_here(encoder: FrozenEncoder, clips: Sequence[Clip]) -> Generator[tuple[Clip, Outcome]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for clip in clips:
            yield clip, encode_clip(encoder, clip)
    finally:
        torch.set_num_threads(threads)


def _encode_in_processes(
    encoder: FrozenEncoder, clips: Sequence[Clip], workers: int
) -> Generator[tuple[Clip, Outcome]]:
    context = multiprocessing.get_context(_start_method(encoder))
    executor = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(encoder,))
    waiting: deque[tuple[Clip, Future[Outcome]]] = deque()
    clip = clips[0]
    try:
        for clip in clips:
            waiting.append((clip, executor.submit(_encode_in_worker, clip)))
            if len(waiting) >= workers * _CLIPS_AHEAD:
                clip, future = waiting.popleft()
                yield clip, future.result()
        while waiting:
            clip, future = waiting.popleft()
            yield clip, future.result()
    except BrokenProcessPool as error:
        raise WorkerError(
            f"a process that encoded clips died near {clip.path} (out of memory, killed, or a script without an "
            "`if __name__ == '__main__'`): run again with fewer workers; what is encoded so far is kept"
        ) from error
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _start_method(encoder: FrozenEncoder) -> str:
    """Fork from a clean server that has imported torch and the encoder once; where there is no fork, spawn."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return "spawn"
    multiprocessing.get_context("forkserver").set_forkserver_preload([__name__, type(encoder).__module__])
    return "forkserver"


_encoder: FrozenEncoder | None = None


def _start_worker(encoder: FrozenEncoder) -> None:
    global _encoder
    _encoder = encoder
    torch.set_num_threads(1)
    follow_parent()


def _encode_in_worker(clip: Clip) -> Outcome:
    if _encoder is None:
        raise RuntimeError("the worker was not started")
    return encode_clip(_encoder, clip)
