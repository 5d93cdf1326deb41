"""A program that answers each line on its input with one line, kept running between questions.

It is started when it is first asked, checked by a question whose answer shows that it works, given a limited time for
each answer, started again when it dies or hangs, and never left behind: it is killed when its owner is closed or
collected and when Python ends, and it ends by itself when its input closes, as it does even if Python is killed.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import IO

_KEPT_NOTES = 60
_END_SECONDS = 10.0


class ToolError(Exception):
    """A program gave no answer, twice.

    Args:
        index: the line that it failed at, or None where it did not even start.
        reason: what happened, as the end of a sentence that begins with the tool's name.
    """

    def __init__(self, index: int | None, reason: str) -> None:
        super().__init__(reason)
        self.index = index
        self.reason = reason


class LineProcess:
    """A program that answers line by line; safe to share between threads.

    Args:
        command: the program and its arguments.
        greeting: a question that it answers once it is ready.
        start_seconds: time for that first answer.
        answer_seconds: time for every other answer, counted from the one before.
        idle_seconds: time without a question after which the program is ended, to be started again by the next one.
    """

    def __init__(
        self,
        command: Sequence[str],
        greeting: str,
        start_seconds: float = 180.0,
        answer_seconds: float = 60.0,
        idle_seconds: float = 300.0,
    ) -> None:
        self._command = list(command)
        self._greeting = greeting
        self._start_seconds = start_seconds
        self._answer_seconds = answer_seconds
        self._idle_seconds = idle_seconds
        self._idle: threading.Timer | None = None
        self._lock = threading.Lock()
        self._running: _Running | None = None
        self._at_exit: weakref.finalize[..., LineProcess] | None = None
        self._owner = os.getpid()

    def ask(self, lines: Sequence[str], answered: Callable[[int], object] | None = None) -> list[str]:
        """Return the answer to each line.

        Args:
            lines: the questions, without line ends.
            answered: is told, after each answer, how many there are.

        Raises:
            ToolError: the program cannot be started, or died or hung twice at the same line.
        """
        if any("\n" in line or "\r" in line for line in lines):
            raise ValueError("a question has a line end in it")
        if not lines:
            return []
        with self._lock:
            self._stay()
            answers: list[str] = []
            failed_at = -1
            while len(answers) < len(lines):
                reason = self._exchange(lines, answers, answered)
                if reason is None:
                    break
                if failed_at == len(answers):
                    raise ToolError(failed_at, reason)
                failed_at = len(answers)
            self._leave_when_idle()
            return answers

    @property
    def pid(self) -> int | None:
        """The running program's process, or None."""
        return self._running.process.pid if self._running is not None else None

    def close(self) -> None:
        """End the program; the next question starts it again."""
        with self._lock:
            self._stay()
            self._stop()

    def _stay(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = None

    def _leave_when_idle(self) -> None:
        self._idle = threading.Timer(self._idle_seconds, _close, (weakref.ref(self),))
        self._idle.daemon = True
        self._idle.start()

    def _exchange(
        self, lines: Sequence[str], answers: list[str], answered: Callable[[int], object] | None
    ) -> str | None:
        """Add the answers to the lines that have none yet; return what went wrong, or None."""
        try:
            running = self._started()
            writer = threading.Thread(target=running.write, args=(lines[len(answers) :],), daemon=True)
            writer.start()
            reason = None
            while len(answers) < len(lines) and reason is None:
                answer, reason = running.read(self._answer_seconds)
                if answer is not None:
                    answers.append(answer)
                    if answered is not None:
                        answered(len(answers))
        except BaseException:
            self._stop()
            raise
        if reason is not None:
            self._stop()
        writer.join()
        return reason

    def _started(self) -> _Running:
        """Return the running program, which has answered the greeting."""
        if self._owner != os.getpid():  # a forked child leaves its parent's program alone
            self._owner, self._running = os.getpid(), None
        if self._running is not None and self._running.process.poll() is None:
            return self._running
        self._stop()
        try:
            self._running = _Running(self._command)
        except OSError as error:
            raise ToolError(None, f"could not be started ({error})") from error
        self._at_exit = weakref.finalize(self, _end, self._running.process, os.getpid())
        self._running.write([self._greeting])
        answer, reason = self._running.read(self._start_seconds)
        if answer is None:
            raise ToolError(None, f"did not start: it {reason}")
        return self._running

    def _stop(self) -> None:
        if self._running is not None and self._owner == os.getpid():
            self._running.stop()
        if self._at_exit is not None:
            self._at_exit.detach()
        self._running = self._at_exit = None


class _Running:
    """A started program with the threads that empty its two outputs."""

    def __init__(self, command: Sequence[str]) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._notes: deque[str] = deque(maxlen=_KEPT_NOTES)
        self._readers = [
            threading.Thread(target=_drain, args=(self.process.stdout, self._answers.put, True), daemon=True),
            threading.Thread(target=_drain, args=(self.process.stderr, self._note, False), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _note(self, line: str | None) -> None:
        """Keep the last lines of the error output."""
        if line is not None:
            self._notes.append(line)

    def write(self, lines: Iterable[str]) -> None:
        """Write lines until all are written or the program is gone."""
        stream = self.process.stdin
        assert stream is not None
        with contextlib.suppress(OSError, ValueError):
            for line in lines:
                stream.write(line.encode(errors="replace") + b"\n")
            stream.flush()

    def read(self, seconds: float) -> tuple[str | None, str | None]:
        """Return the next answer, or None and what happened."""
        try:
            answer = self._answers.get(timeout=seconds)
        except queue.Empty:
            return None, f"gave no answer in {seconds:g} s"
        if answer is not None:
            return answer, None
        try:
            end = f"ended with code {self.process.wait(_END_SECONDS)}"
        except subprocess.TimeoutExpired:
            end = "closed its output"
        self._readers[1].join(_END_SECONDS)
        said = [note.strip() for note in self._notes if note.strip()]
        telling = [note for note in said if not note.startswith(("at ", "..."))] or said  # the rest is a stack trace
        return None, f"{end} ({telling[-1]})" if telling else end

    def stop(self) -> None:
        """Kill the program and release its pipes."""
        _end(self.process, os.getpid())
        for reader, stream in zip(self._readers, (self.process.stdout, self.process.stderr), strict=True):
            reader.join(_END_SECONDS)
            if stream is not None and not reader.is_alive():
                stream.close()


def _drain(stream: IO[bytes], put: Callable[[str | None], object], marks_end: bool) -> None:
    """Pass on the lines of an output until it ends."""
    with contextlib.suppress(OSError, ValueError):
        for line in stream:
            put(line.decode(errors="replace").rstrip("\r\n"))
    if marks_end:
        put(None)


def _close(owner: weakref.ref[LineProcess]) -> None:
    """End an idle program, unless its owner is gone, and the program with it."""
    idle = owner()
    if idle is not None:
        idle.close()


def _end(process: subprocess.Popen[bytes], owner: int) -> None:
    """Kill a program with all that it started, unless it belongs to the process that this one was forked from."""
    if owner != os.getpid():
        return
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
    process.wait(_END_SECONDS)
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
