"""One chain: a run that starts from nothing and those that start from its weights, carried out in one process, one after another.

So an interrupted study leaves whole chains, and the weights of a run serve its children before anything is lost. What is measured
on all of them comes at the end: what they share is then computed once. The same function serves every executor, so that it does
not matter where a chain ran.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from fusion_core.errors import FusionError, MissingAssetError
from fusion_eval.errors import FusionError as ScoringError
from fusion_eval.errors import MissingAssetError as MissingTool

from fusion_train.stopping import Interrupted
from fusion_train.study.config import ADDITIVE_STABLE
from fusion_train.study.decisions import decide_stability
from fusion_train.study.plan import PlannedRun
from fusion_train.study.schedule import OpenChain
from fusion_train.study.steps import Bench, carry_out, measure
from fusion_train.study.workspace import Failure

Report = Callable[[str, str], None]
"""Called with the name of a run and «started», «done», «failed» or «missing»."""


def run_chain(bench: Bench, chain: OpenChain, report: Report = lambda name, state: None) -> None:
    """Carry out the runs of a chain; one that fails takes only its children with it.

    A chain that a rule must let begin asks the rule first, from the kept results.

    Raises:
        Interrupted: the process was asked to stop; the state of the run is saved.
    """
    held = _held(bench, chain)
    carried_out = []
    for run in (bench.plan.runs[name] for name in chain.runs):
        bench.work.clear(run.name)
        report(run.name, "started")
        reason = held or _lacks_parent(bench, run)
        if reason is None:
            with bench.work.at_work(run.name):
                reason = _attempt(bench.work.log(run), partial(carry_out, bench, run))
        if reason is None:
            carried_out.append(run)
        else:
            bench.work.fail(run.name, reason)
            report(run.name, reason.status)
    _measure(bench, carried_out, report)


def _measure(bench: Bench, runs: Sequence[PlannedRun], report: Report) -> None:
    """Measure finished runs together."""
    if not runs:
        return
    with contextlib.ExitStack() as stack:
        for run in runs:
            stack.enter_context(bench.work.at_work(run.name))
        reason = _attempt(bench.work.log(runs[0]), partial(measure, bench, runs))
    for run in runs:
        if reason is not None:
            bench.work.fail(run.name, reason)
        report(run.name, "done" if reason is None else reason.status)


def _held(bench: Bench, chain: OpenChain) -> Failure | None:
    """Return why a rule does not let the chain begin; None where it may."""
    if chain.after != ADDITIVE_STABLE:
        return None
    decision = decide_stability(bench.plan, bench.kept)
    return None if decision.triggered else Failure(status="missing", reason=decision.outcome)


def _lacks_parent(bench: Bench, run: PlannedRun) -> Failure | None:
    if run.parent is None or bench.work.has_weights(bench.plan, bench.plan.runs[run.parent]):
        return None
    return Failure(status="missing", reason=f"{run.parent}, whose weights it starts from, has none.")


def _attempt(log: Path, work: Callable[[], None]) -> Failure | None:
    """Do what is asked, with all that it prints in a log; return why it could not be done."""
    try:
        with _logged(log):
            work()
    except Interrupted:
        raise
    except (MissingAssetError, MissingTool) as reason:
        return Failure(status="missing", reason=str(reason), log=str(log))
    except (FusionError, ScoringError) as reason:
        return Failure(reason=str(reason), log=str(log))
    except Exception as reason:  # a mistake in one run must not stop the study; its traceback is in the log
        return Failure(reason=f"{type(reason).__name__}: {reason}", log=str(log))
    return None


@contextlib.contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Send all that this process and its children print to a file, and a traceback too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    kept = [os.dup(number) for number in (1, 2)]
    with path.open("a", encoding="utf-8") as file:
        print(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')}", file=file, flush=True)
        for number in (1, 2):
            os.dup2(file.fileno(), number)
        try:
            yield
        except Exception:
            traceback.print_exc(file=file)
            raise
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            for number, copy in zip((1, 2), kept, strict=True):
                os.dup2(copy, number)
                os.close(copy)
