"""Stopping a training: signals become a wish that all processes share; a stop is a state, not a mistake."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from fusion_core.errors import FusionError


class Interrupted(FusionError):  # noqa: N818 - the name of a state, not of a mistake
    """The run was asked to stop; its state is saved."""

    exit_code = 130


class Diverged(FusionError):  # noqa: N818
    """The loss is no longer a number, or far above where it began."""

    exit_code = 1


@contextmanager
def stop_requested() -> Iterator[threading.Event]:
    """Turn SIGINT and SIGTERM into an event while training; outside the main thread signals stay as they are."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def request(number: int, frame: FrameType | None) -> None:
        event.set()

    previous = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
