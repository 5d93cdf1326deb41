"""Processes that are killed with SIGKILL while they fill the cache, and what is found afterwards."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fusion_encoders.cache import FeatureCache, FillReport
from fusion_encoders.logmel import LogMelEncoder
from fusion_encoders.workers import WorkerError

Clips = list[tuple[str, Path, str]]
MakeClips = Callable[[int], Clips]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")

CLIPS = 9
KILL_POINTS = 14

KILLED_AT_EVERY_WRITE = """
import hashlib, os, signal, sys
from pathlib import Path
from fusion_encoders import feature_store
from fusion_encoders.cache import FeatureCache
from fusion_encoders.logmel import LogMelEncoder

clips = [(p.stem, p, hashlib.sha256(p.read_bytes()).hexdigest()) for p in sorted(Path(sys.argv[1]).iterdir())]
feature_store._COMMIT_CLIPS = 3
whole_write = feature_store.write_all

def fill_and_die(point):
    calls = iter(range(10**6))
    def write(file, data):
        if next(calls) == point:
            os.write(file, data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        whole_write(file, data)
    feature_store.write_all = write
    FeatureCache(LogMelEncoder(8, 4), Path(sys.argv[2]) / str(point)).fill(clips, workers=1)

for point in range(int(sys.argv[3])):
    child = os.fork()
    if child == 0:
        fill_and_die(point)
        os._exit(0)
    print(os.waitpid(child, 0)[1])
"""

SLOW_FILL = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from fusion_encoders.cache import FeatureCache
from slow_encoder import Slow
import hashlib

if __name__ == "__main__":
    clips = [(p.stem, p, hashlib.sha256(p.read_bytes()).hexdigest()) for p in sorted(Path(sys.argv[1]).iterdir())]
    FeatureCache(Slow(8, 4), Path(sys.argv[2])).fill(clips, workers=int(sys.argv[4]))
"""

SLOW_ENCODER = """
import os, signal, time
from fusion_encoders.logmel import LogMelEncoder

class Slow(LogMelEncoder):
    def encode(self, waveform_S):
        time.sleep(0.15)
        return super().encode(waveform_S)

class Dying(LogMelEncoder):
    victim = 0
    def encode(self, waveform_S):
        if len(waveform_S) == self.victim:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().encode(waveform_S)
"""


def contents(folder: Path) -> dict[str, str]:
    names = ("encoder.json", "frames.f16", "index.bin")
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


@pytest.fixture
def helper_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "helper").mkdir()
    (tmp_path / "helper" / "slow_encoder.py").write_text(SLOW_ENCODER)
    monkeypatch.syspath_prepend(str(tmp_path / "helper"))
    return tmp_path / "helper"


def test_a_kill_at_any_write_leaves_a_good_prefix_and_resuming_equals_unbroken(
    tmp_path: Path, make_clips: MakeClips
) -> None:
    """Nine clips in commits of three: nine writes of frames and three of records, each killed half way through.

    Half of three records is one whole record, and its frames are there: that clip is kept.
    """
    clips = sorted(make_clips(CLIPS), key=lambda clip: clip[1])
    unbroken = FeatureCache(LogMelEncoder(8, 4), tmp_path / "unbroken")
    unbroken.fill(clips)
    command = [sys.executable, "-c", KILLED_AT_EVERY_WRITE, str(tmp_path / "clips"), str(tmp_path / "killed")]
    result = subprocess.run([*command, str(KILL_POINTS)], capture_output=True, text=True, check=True)
    statuses = [int(line) for line in result.stdout.split()]
    writes = CLIPS + CLIPS // 3
    assert statuses == [signal.SIGKILL] * writes + [0] * (KILL_POINTS - writes)
    for point in range(writes):
        cache = FeatureCache(LogMelEncoder(8, 4), tmp_path / "killed" / str(point))
        committed = 3 * (point // 4) + (point % 4 == 3)
        assert len(cache) == committed, point
        for _, _, sha256 in clips[:committed]:
            assert (cache.get(sha256) == unbroken.get(sha256)).all()
        assert cache.fill(clips) == FillReport(encoded=CLIPS - committed, cached=committed)
        assert contents(cache.folder) == contents(unbroken.folder)


def test_a_worker_that_dies_stops_the_fill_with_a_sentence_and_keeps_what_is_done(
    tmp_path: Path, make_clips: MakeClips, helper_module: Path
) -> None:
    from slow_encoder import Dying  # type: ignore[import-not-found]

    clips = make_clips(11)
    encoder = Dying(8, 4)
    encoder.victim = 2_400 + 700 * 10
    cache = FeatureCache(encoder, tmp_path / "features")
    with pytest.raises(WorkerError, match="run again with fewer workers") as caught:
        cache.fill(clips, workers=2)
    assert "\n" not in str(caught.value)
    done = len(cache)
    assert done < 11
    assert [cache.has(sha256) for *_, sha256 in clips] == [True] * done + [False] * (11 - done)
    unbroken = FeatureCache(LogMelEncoder(8, 4), tmp_path / "unbroken")
    unbroken.fill(clips)
    resumed = FeatureCache(LogMelEncoder(8, 4), tmp_path / "features")
    resumed.fill(clips)
    assert contents(resumed.folder) == contents(unbroken.folder)


def descendants(process: int) -> Iterator[int]:
    with contextlib.suppress(OSError):
        for tasks in Path(f"/proc/{process}/task").iterdir():
            for child in (tasks / "children").read_text().split():
                yield int(child)
                yield from descendants(int(child))


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads the process tree from /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_fill_leaves_no_processes_and_is_resumed(
    tmp_path: Path, make_clips: MakeClips, helper_module: Path, how: signal.Signals
) -> None:
    clips = sorted(make_clips(60), key=lambda clip: clip[1])
    script = tmp_path / "fill.py"
    script.write_text(SLOW_FILL)
    arguments = [str(tmp_path / "clips"), str(tmp_path / "features"), str(helper_module), "2"]
    process = subprocess.Popen([sys.executable, str(script), *arguments], stderr=subprocess.DEVNULL)
    index = tmp_path / "features"
    wait_until(
        lambda: any(file.stat().st_size > 0 for file in index.glob("*/index.bin")), seconds=200
    )  # a busy machine
    family = [*descendants(process.pid)]
    assert len(family) >= 2
    process.send_signal(how)
    process.wait(timeout=30)
    wait_until(lambda: not any(is_alive(member) for member in family), seconds=15)
    resumed = FeatureCache(LogMelEncoder(8, 4), tmp_path / "features")
    assert 0 < len(resumed) < 60
    resumed.fill(clips)
    unbroken = FeatureCache(LogMelEncoder(8, 4), tmp_path / "unbroken")
    unbroken.fill(clips)
    assert contents(resumed.folder) == contents(unbroken.folder)


@pytest.mark.slow
def test_two_processes_that_fill_one_cache_leave_one_good_cache(
    tmp_path: Path, make_clips: MakeClips, helper_module: Path
) -> None:
    clips = sorted(make_clips(20), key=lambda clip: clip[1])
    script = tmp_path / "fill.py"
    script.write_text(SLOW_FILL)
    arguments = [str(tmp_path / "clips"), str(tmp_path / "features"), str(helper_module), "1"]
    processes = [subprocess.Popen([sys.executable, str(script), *arguments]) for _ in range(2)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    unbroken = FeatureCache(LogMelEncoder(8, 4), tmp_path / "unbroken")
    unbroken.fill(clips)
    filled = FeatureCache(LogMelEncoder(8, 4), tmp_path / "features")
    assert contents(filled.folder) == contents(unbroken.folder)
