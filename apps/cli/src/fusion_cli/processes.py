"""The same command in several processes that share each step, by torch's launcher."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def run_in_processes(processes: int, out: Path) -> int:
    """Run this command line again in several processes, one a GPU or all on CPUs, and return their exit code.

    Args:
        processes: how many.
        out: the run directory, which all of them must share.
    """
    arguments = _without(sys.argv[1:], "--processes")
    if not any(argument == "--out" or argument.startswith("--out=") for argument in arguments):
        arguments += ["--out", str(out)]
    launcher = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}", "--standalone"]
    threads = str(max(1, (os.cpu_count() or 1) // processes))
    environment = {"OMP_NUM_THREADS": threads, **os.environ}
    # The launcher passes signals on, so the processes save their state before it ends.
    with subprocess.Popen([*launcher, "-m", "fusion_cli", *arguments], env=environment) as launched:
        while True:
            try:
                return launched.wait()
            except KeyboardInterrupt:
                continue


def _without(arguments: list[str], option: str) -> list[str]:
    """Return the arguments without an option and its value."""
    kept: list[str] = []
    skip = False
    for argument in arguments:
        if skip:
            skip = False
        elif argument == option:
            skip = True
        elif not argument.startswith(f"{option}="):
            kept.append(argument)
    return kept
