"""Find Java and say how it is to be run: the same numbers and letters on every machine, no more memory than there is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from fusion_eval.errors import MissingAssetError

OLDEST = 8
MEBIBYTE = 1 << 20
_MEND = "install a Java runtime, 8 or newer, or set JAVA_HOME."
_START_SECONDS = 30.0


@dataclass(frozen=True)
class Java:
    """A Java runtime: its program and its version, as "17.0.15" or "1.8.0_392"."""

    program: str
    version: str

    @property
    def major(self) -> int:
        """The version that people speak of: 8, 11, 17, …"""
        first, *others = (int(number) for number in re.findall(r"\d+", self.version))
        return others[0] if first == 1 and others else first

    def command(self, memory: int, *arguments: str, threads: int | None = None) -> list[str]:
        """Return the command line of a program under a fixed locale and with a limited heap.

        Args:
            memory: the largest heap, in MiB.
            arguments: the class path and the program with its own arguments.
            threads: processors that the program may use; by default all.
        """
        options = [
            "-XX:+IgnoreUnrecognizedVMOptions",
            "-XX:+ExitOnOutOfMemoryError",
            f"-Xmx{memory}m",
            "-Dfile.encoding=UTF-8",
            "-Duser.language=en",
            "-Duser.country=US",
            "-Djava.awt.headless=true",
            "-XX:+UseSerialGC" if threads == 1 else "-XX:+UseParallelGC",
        ]
        if threads is not None:
            options.append(f"-XX:ActiveProcessorCount={threads}")
        return [self.program, *options, *arguments]


def find_java() -> Java:
    """Return the Java of ``$JAVA_HOME``, or else the one on the path.

    Raises:
        MissingAssetError: there is none, it does not run, or it is older than 8.
    """
    home = os.environ.get("JAVA_HOME")
    inside = shutil.which("java", path=str(Path(home) / "bin")) if home else None
    program = inside or shutil.which("java")
    if program is None:
        raise MissingAssetError(f"Java is not installed; {_MEND}")
    version = _version(program)
    if version is None:
        raise MissingAssetError(f"{program} does not run as Java; {_MEND}")
    java = Java(program, version)
    if java.major < OLDEST:
        raise MissingAssetError(f"{program} is Java {version}; {_MEND}")
    return java


@lru_cache(maxsize=8)
def _version(program: str) -> str | None:
    """Return the version that a Java program states, or None where it states none."""
    try:
        run = subprocess.run(
            [program, "-version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_START_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    stated = re.search(r'version "(\d[^"]*)"', run.stderr.decode(errors="replace"))
    return stated[1] if stated else None


def processors() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine_memory() -> int:
    """Return the memory of this machine in MiB, or of the container where that is less."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")] if hasattr(os, "sysconf") else [8 << 30]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(path).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdigit():
            limits.append(int(text))
    return min(limits) // MEBIBYTE
