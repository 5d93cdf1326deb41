"""Worker processes of this machine: as many as there are cores or GPUs for, each carrying out chain after chain.

A worker imports torch once for all its chains. One that dies (out of memory, a crash of native code) takes the run it was at
with it and no other; one whose parent has died stops by itself, with its state saved.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from fusion_core.errors import FusionError

from fusion_train.stopping import Interrupted, stop_requested
from fusion_train.study.decisions import gate_runs
from fusion_train.study.executors.base import Errand, Notice, prepare
from fusion_train.study.schedule import OpenChain
from fusion_train.study.workspace import Failure

POLL = 0.5  # s
GRACE = 120.0  # s that a worker has to save its state
PREPARE = "prepare"


@dataclass
class _Worker:
    """A worker process, the pipe to it and what it is at."""

    process: Any
    pipe: Connection
    gpu: str | None
    chain: OpenChain | None = None
    at: str | None = None


class LocalPool:
    """Carries out chains in worker processes.

    Args:
        workers: how many; None for as many as there are GPUs, or cores for the study's threads.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers

    def run(self, errand: Errand, chains: Sequence[OpenChain], notice: Notice) -> None:
        """Carry out all chains; see :class:`~fusion_train.study.executors.base.Executor`."""
        gpus = visible_gpus()
        room = len(gpus) or max(1, len(os.sched_getaffinity(0)) // errand.study.threads)
        count = max(1, min(self.workers or room, len(chains)))
        shift = _Shift(errand, list(chains), notice)
        with stop_requested() as stop:
            workers = [_start(errand, gpus[index % len(gpus)] if gpus else None) for index in range(count)]
            try:
                shift.work(workers, stop)
            finally:
                _end(workers)


class _Shift:
    """Hands chains to workers until none is left."""

    def __init__(self, errand: Errand, chains: list[OpenChain], notice: Notice) -> None:
        self.errand = errand
        self.pending = chains
        self.notice = notice
        self.awaited = {run.name for run in gate_runs(errand.plan())}
        self.prepared = False

    def work(self, workers: list[_Worker], stop: threading.Event) -> None:
        workers[0].pipe.send(PREPARE)
        while self.pending or any(worker.chain for worker in workers):
            if stop.is_set():
                raise Interrupted("The study was stopped; its state is saved. Run it again to go on.")
            if self.prepared:
                self._hand_out(workers)
            readable = [worker.pipe for worker in workers] + [worker.process.sentinel for worker in workers]
            for source in wait(readable, POLL):
                worker = next(one for one in workers if source in (one.pipe, one.process.sentinel))
                self._listen(worker, workers)

    def _hand_out(self, workers: list[_Worker]) -> None:
        for worker in workers:
            if worker.chain is not None or not worker.process.is_alive():
                continue
            chain = self._next(workers)
            if chain is None:
                return
            self.pending.remove(chain)
            worker.chain = chain
            worker.pipe.send(chain)

    def _next(self, workers: list[_Worker]) -> OpenChain | None:
        """Return the next chain that may begin; one with a rule waits for the runs that the rule is about."""
        ahead = [chain for chain in self.pending if chain.after is None] + [one.chain for one in workers if one.chain]
        waits = any(self.awaited & set(chain.runs) for chain in ahead)
        return next((chain for chain in self.pending if chain.after is None or not waits), None)

    def _listen(self, worker: _Worker, workers: list[_Worker]) -> None:
        """Take in what a worker says; where it has died, name the run and put another worker in its place."""
        try:
            while worker.pipe.poll():
                self._take(worker, worker.pipe.recv())
        except (EOFError, OSError):
            worker.process.join()
            if worker.chain is None:
                code = worker.process.exitcode
                raise FusionError(f"A worker process died before it had anything to do (code {code}).") from None
            self._bury(worker)
            workers[workers.index(worker)] = _start(self.errand, worker.gpu)

    def _take(self, worker: _Worker, message: tuple[str, Any]) -> None:
        kind, content = message
        if kind == "prepared":
            self.prepared = True
        elif kind == "refused":
            raise content
        elif kind == "stage":
            self.notice(content, "stage")
        elif kind == "ended":
            worker.chain = worker.at = None
        else:
            worker.at = content if kind == "started" else None
            self.notice(content, kind)

    def _bury(self, worker: _Worker) -> None:
        """Name the run that a dead worker was at; what stood after it in its chain is tried on."""
        chain, code = worker.chain, worker.process.exitcode
        if chain is None:
            return
        died = worker.at or chain.runs[0]
        cause = f"signal {-code}, perhaps out of memory" if code is not None and code < 0 else f"code {code}"
        log = str(self.errand.work / "logs" / f"{died}.log")
        self.errand.workspace.fail(died, Failure(reason=f"Its process died ({cause}).", log=log))
        self.notice(died, "failed")
        rest = chain.runs[chain.runs.index(died) + 1 :]
        if rest:
            self.pending.insert(0, OpenChain(rest, chain.after))


def _start(errand: Errand, gpu: str | None) -> _Worker:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(there, errand, os.getpid()))
    settings = {"OMP_NUM_THREADS": str(errand.study.threads), "MKL_NUM_THREADS": str(errand.study.threads)}
    with _environment(settings | ({"CUDA_VISIBLE_DEVICES": gpu} if gpu is not None else {})):
        process.start()
    there.close()
    return _Worker(process, here, gpu)


def _end(workers: Sequence[_Worker]) -> None:
    """Let idle workers go, ask busy ones to save their state, and wait for all."""
    for worker in workers:
        worker.pipe.close()
        if worker.chain is not None and worker.process.is_alive():
            worker.process.terminate()
    deadline = time.monotonic() + GRACE
    for worker in workers:
        worker.process.join(max(0.0, deadline - time.monotonic()))
        if worker.process.is_alive():
            worker.process.kill()


@contextlib.contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    """Set environment variables for the processes that start inside."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def serve(pipe: Connection, errand: Errand, parent: int) -> None:
    """The life of a worker: prepare if asked, carry out the chains that come, end when the pipe closes."""
    from fusion_train.study.chain import run_chain
    from fusion_train.study.steps import Bench

    threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    bench = Bench(errand.plan(), errand.workspace, errand.kept, lambda sentence: None)
    try:
        while True:
            task = pipe.recv()
            if task == PREPARE:
                try:
                    prepare(errand, lambda sentence: pipe.send(("stage", sentence)))
                except FusionError as reason:
                    pipe.send(("refused", reason))
                    continue
                pipe.send(("prepared", None))
                continue
            run_chain(bench, task, lambda name, state: pipe.send((state, name)))
            pipe.send(("ended", None))
    except (EOFError, BrokenPipeError, ConnectionResetError, Interrupted, KeyboardInterrupt):
        return


def _watch(parent: int) -> None:
    """Stop this process, with its state saved, when its parent is no more."""
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


def visible_gpus() -> list[str]:
    """Return the GPUs that processes may use, by their numbers, found without loading torch."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name for name in chosen.split(",") if name.strip()]
    devices = [path.name for path in Path("/dev").glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name)]
    return [name.removeprefix("nvidia") for name in sorted(devices)]
