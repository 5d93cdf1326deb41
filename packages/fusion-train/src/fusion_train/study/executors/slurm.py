"""Jobs of Slurm, through submitit: one job a chain, in arrays; what is shared is prepared by a job that the others depend on.

A job that is preempted or runs out of time is put back into the queue by its own signal handler and goes on from its last
checkpoint, exactly. The working folder and the results must lie where all nodes see them. The process that submitted may be
killed: jobs go on, and the next ``fusion study run`` follows those that are still in the queue instead of submitting again.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fusion_core.errors import ConfigError, MissingAssetError
from fusion_core.files import write_atomic
from fusion_eval.errors import DataError
from fusion_eval.schemas.base import Record, Schema

from fusion_train.stopping import Interrupted, stop_requested
from fusion_train.study.decisions import gate_runs
from fusion_train.study.executors.base import Errand, Notice, prepare
from fusion_train.study.schedule import OpenChain
from fusion_train.study.workspace import Failure

POLL = 5.0  # s between two looks at the queue
REQUEUES = 100  # times that a job may run out of time and go on


class SubmittedChain(Record):
    """A chain that was given to Slurm: its job, its runs and their identities."""

    job: str
    runs: tuple[str, ...]
    identities: tuple[str, ...]


class SubmittedChains(Schema):
    """Kept as ``slurm/jobs.json`` in the working folder."""

    chains: tuple[SubmittedChain, ...] = ()


class PrepareJob:
    """What the first job does."""

    def __call__(self, errand: Errand) -> None:
        """Prepare data, features and heads."""
        prepare(errand, print)

    def checkpoint(self, errand: Errand) -> Any:
        """Return what the job does when it runs again: the same, from what lies on disk."""
        return _again(self, errand)


class ChainJob:
    """What a job of the array does."""

    def __call__(self, errand: Errand, chain: OpenChain) -> None:
        """Carry out a chain; what of it is done already is passed over."""
        from fusion_train.study.chain import run_chain
        from fusion_train.study.steps import Bench

        bench = Bench(errand.plan(), errand.workspace, errand.kept, print)
        run_chain(bench, chain, lambda name, state: print(state, name, flush=True))

    def checkpoint(self, errand: Errand, chain: OpenChain) -> Any:
        """Return what the job does when it runs again: the same, from its last checkpoint."""
        return _again(self, errand, chain)


def _again(function: Any, *arguments: Any) -> Any:
    from submitit.helpers import DelayedSubmission

    return DelayedSubmission(function, *arguments)


class SlurmJobs:
    """Carries out chains as jobs of Slurm.

    Args:
        poll: seconds between two looks at the queue.

    Raises:
        MissingAssetError: submitit is not installed, or there is no Slurm here.
    """

    def __init__(self, poll: float = POLL) -> None:
        self.poll = poll
        try:
            import submitit  # noqa: F401 - it is an extra
        except ImportError:
            raise MissingAssetError("Slurm is reached through submitit: pip install 'fusion-train[slurm]'.") from None

    def run(self, errand: Errand, chains: Sequence[OpenChain], notice: Notice) -> None:
        """Submit all chains that are not in the queue yet, and wait for all; see ``executors.base.Executor``."""
        queue = _Queue(errand)
        waiting = queue.find(chains)
        new = [chain for chain in chains if chain not in [one for one, _ in waiting]]
        if new:
            waiting += queue.submit(new)
            notice(f"{len(new)} jobs submitted; this process only watches, and may be stopped", "stage")
        _Watch(errand, waiting, notice).until_done(self.poll)


class _Queue:
    """Submits chains and remembers what was submitted."""

    def __init__(self, errand: Errand) -> None:
        self.errand = errand
        self.folder = errand.work / "slurm"
        self.plan = errand.plan()

    def find(self, chains: Sequence[OpenChain]) -> list[tuple[OpenChain, str]]:
        """Return those of the chains that are in the queue already, with their jobs."""
        alive = queued_jobs()
        known = {(one.runs, one.identities): one.job for one in self._read().chains if one.job in alive}
        keys = [(chain, (chain.runs, self._identities(chain))) for chain in chains]
        return [(chain, known[key]) for chain, key in keys if key in known]

    def submit(self, chains: Sequence[OpenChain]) -> list[tuple[OpenChain, str]]:
        """Submit chains: first a job that prepares, then those that may begin at once, then those that wait for a rule's runs."""
        first = [chain for chain in chains if chain.after is None]
        gated = [chain for chain in chains if chain.after is not None]
        prepared = self._executor(None).submit(PrepareJob(), self.errand).job_id
        submitted = self._submit_array(first, f"afterok:{prepared}")
        awaited = {run.name for run in gate_runs(self.plan)}
        before = [job for chain, job in submitted if awaited & set(chain.runs)]
        condition = ",".join([f"afterok:{prepared}", *(f"afterany:{job}" for job in before)])
        submitted += self._submit_array(gated, condition)
        entries = [SubmittedChain(job=job, runs=c.runs, identities=self._identities(c)) for c, job in submitted]
        kept = SubmittedChains(chains=(*self._read().chains, *entries))
        write_atomic(self.folder / "jobs.json", kept.canonical_bytes())
        return submitted

    def _submit_array(self, chains: list[OpenChain], dependency: str) -> list[tuple[OpenChain, str]]:
        if not chains:
            return []
        jobs = self._executor(dependency).map_array(ChainJob(), [self.errand] * len(chains), chains)
        return [(chain, job.job_id) for chain, job in zip(chains, jobs, strict=True)]

    def _executor(self, dependency: str | None) -> Any:
        """Return submitit's executor with what the study asks of Slurm.

        Raises:
            MissingAssetError: there is no Slurm here.
        """
        from submitit import SlurmExecutor

        plan, study = self.errand.study.slurm, self.errand.study
        try:
            executor = SlurmExecutor(self.folder, max_num_timeout=REQUEUES)
        except RuntimeError:
            raise MissingAssetError(
                "There is no Slurm on this machine (srun is absent); take --executor local."
            ) from None
        more = {"requeue": True} | ({"kill-on-invalid-dep": "yes"} if dependency else {})
        executor.update_parameters(
            job_name=f"fusion-{study.name}",
            time=plan.minutes,
            cpus_per_task=max(plan.cpus, study.threads),
            array_parallelism=plan.parallel,
            setup=[f"export OMP_NUM_THREADS={study.threads} MKL_NUM_THREADS={study.threads}"],
            stderr_to_stdout=True,
            additional_parameters=more,
            **{name: value for name, value in (("partition", plan.partition), ("account", plan.account)) if value},
            **({"gpus_per_node": plan.gpus} if plan.gpus else {}),
            **({"dependency": dependency} if dependency else {}),
        )
        return executor

    def _identities(self, chain: OpenChain) -> tuple[str, ...]:
        return tuple(self.plan.runs[name].identity for name in chain.runs)

    def _read(self) -> SubmittedChains:
        path = self.folder / "jobs.json"
        try:
            return SubmittedChains.read(path) if path.is_file() else SubmittedChains()
        except DataError:
            return SubmittedChains()


class _Watch:
    """Looks at the queue and at the kept results until all jobs have ended."""

    def __init__(self, errand: Errand, waiting: list[tuple[OpenChain, str]], notice: Notice) -> None:
        self.errand = errand
        self.waiting = waiting
        self.notice = notice
        self.plan = errand.plan()
        self.told: dict[str, str] = {}

    def until_done(self, poll: float) -> None:
        """Wait.

        Raises:
            Interrupted: this process was asked to stop; the jobs go on.
        """
        with stop_requested() as stop:
            while self.waiting:
                alive = queued_jobs()
                for chain, job in list(self.waiting):
                    self._tell(chain)
                    if job not in alive:
                        self._conclude(chain, job)
                        self.waiting.remove((chain, job))
                if self.waiting and self._sleep(stop, poll):
                    raise Interrupted("Stopped watching; the jobs go on. Run the study again to follow them.")

    @staticmethod
    def _sleep(stop: threading.Event, seconds: float) -> bool:
        return stop.wait(seconds)

    def _tell(self, chain: OpenChain) -> None:
        """Say of each run what has changed."""
        failures = self.errand.workspace.failures()
        for name in chain.runs:
            state = self._state(name, failures)
            if state is not None and self.told.get(name) != state:
                self.told[name] = state
                self.notice(name, state)

    def _state(self, name: str, failures: dict[str, Failure]) -> str | None:
        if self.errand.workspace.is_at_work(name):
            return "started"
        if name in failures:
            return failures[name].status
        return "done" if self.errand.kept.find(self.plan.runs[name]) is not None else None

    def _conclude(self, chain: OpenChain, job: str) -> None:
        """Name what a job that ended has left undone without a reason."""
        self._tell(chain)
        failures = self.errand.workspace.failures()
        for name in chain.runs:
            if name not in failures and self.errand.kept.find(self.plan.runs[name]) is None:
                log = next(iter(sorted((self.errand.work / "slurm").glob(f"{job}_*_log.out"))), Path("-"))
                reason = f"Job {job} ended before the run was done (cancelled, or what it depends on failed)."
                self.errand.workspace.fail(name, Failure(reason=reason, log=str(log)))
                self.notice(name, "failed")


def queued_jobs() -> set[str]:
    """Return the jobs that are waiting or running, elements of arrays one by one.

    Raises:
        MissingAssetError: there is no Slurm here.
        ConfigError: its controller does not answer.
    """
    command = ["squeue", "--noheader", "--array", "--me", "--format=%i"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except FileNotFoundError:
        raise MissingAssetError(
            "There is no Slurm on this machine (squeue is absent); take --executor local."
        ) from None
    except subprocess.SubprocessError as error:
        words = str(getattr(error, "stderr", "") or error).strip()
        raise ConfigError(f"Slurm's controller does not answer ({words}); the jobs go on. Try again later.") from None
    return set(done.stdout.split())
