"""A small study through the command line: run, run again, killed, failed, on Slurm; the same scores in each case.

Slurm is a real one of one node, started by ``tests/slurm/one_node.sh``; its tests skip where it cannot be had.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from fusion_train.study.config import load_study
from fusion_train.study.plan import plan_study
from fusion_train.study.runner import places
from fusion_train.study.verify import verify_study

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SMALL: dict[str, Any] = {
    "name": "small",
    "tier": "tiny",
    "profile": "tiny",
    "seeds": [0],
    "set": {"dataset.workers": 1, "scst.steps": 2, "schedule.steps": 12},
    "experiments": [
        {"name": "A2", "phase": 1, "systems": ["additive", "concat"], "stages": ["xe", "scst"], "measures": ["rerank"]},
        {
            "name": "B1",
            "phase": 2,
            "after": "additive-stable",
            "variants": [{}, {"label": "sites 3", "set": {"system.sites": [3]}}],
        },
    ],
}
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to work in, with a cache of its own, so that runs share data and features."""
    return tmp_path_factory.mktemp("study")


@pytest.fixture(scope="module")
def environment(place: Path) -> dict[str, str]:
    return {**os.environ, "FUSION_CACHE": str(place / "cache"), "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}


def _write(place: Path, **parts: Any) -> Path:
    content = SMALL | parts
    path = place / f"{content['name']}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def _command(file: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "fusion_cli", "study", "run", file.name, *options]


@pytest.fixture(scope="module")
def run(place: Path, environment: dict[str, str]) -> Run:
    """Run a study to its end."""

    def call(file: Path, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            _command(file, *options),
            cwd=place,
            env=environment,
            capture_output=True,
            text=True,
            timeout=1500,
            check=False,
        )

    return call


def _scores(results: Path) -> dict[str, bytes]:
    """Return the bytes of every score that is kept, by its path: a score names neither times nor places."""
    return {str(path.relative_to(results)): path.read_bytes() for path in sorted(results.glob("runs/*/scores/*.json"))}


def _created(results: Path) -> dict[str, str]:
    """Return when each run was finished, as its card says."""
    return {path.parent.name: json.loads(path.read_text())["created"] for path in results.glob("runs/*/run_card.json")}


def _without_run_ids(results: Path) -> dict[str, dict[str, float]]:
    """Return the values of every score; hashes of predictions name the run's folder, which has the study's name nowhere."""
    return {place: json.loads(content)["metrics"] for place, content in _scores(results).items()}


@pytest.fixture(scope="module")
def unbroken(place: Path, run: Run) -> Path:
    """The results of the study, run once without a stop."""
    done = run(_write(place))
    assert done.returncode == 0, done.stderr
    assert "5 runs: 5 done" in done.stdout
    return place / "results" / "small"


def test_the_second_time_nothing_is_computed(place: Path, run: Run, unbroken: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in unbroken.rglob("*") if path.is_file()}
    used = os.times()
    again = run(_write(place))
    now = os.times()
    assert again.returncode == 0
    assert "started" not in again.stderr
    assert {path: path.stat().st_mtime_ns for path in unbroken.rglob("*") if path.is_file()} == before
    assert now.children_user + now.children_system - used.children_user - used.children_system < 10


def test_a_clone_without_weights_has_nothing_to_do(place: Path, run: Run, unbroken: Path, tmp_path: Path) -> None:
    shutil.copytree(unbroken, tmp_path / "kept")
    again = run(_write(place), "--work", str(tmp_path / "work"), "--results", str(tmp_path / "kept"))
    assert "5 runs: 5 done" in again.stdout
    assert "started" not in again.stderr


def test_its_results_verify(place: Path, unbroken: Path) -> None:
    study = load_study(_write(place))
    assert verify_study(plan_study(study), places(study, None, unbroken)[1]) == []


def _says_where(results: Path, place: Path) -> list[Path]:
    return [path for path in results.rglob("*") if path.is_file() and str(place) in path.read_text(encoding="utf-8")]


def test_no_kept_file_says_where_it_was_made(place: Path, unbroken: Path) -> None:
    assert _says_where(unbroken, place) == []


def test_watching_leaves_hearing_as_it_was_where_it_is_frozen(place: Path, run: Run) -> None:
    experiment = {"name": "C2", "phase": 3, "kind": "video", "frozen": ["audio"]}
    done = run(_write(place, name="watching", experiments=[experiment]))
    assert "2 runs: 2 done" in done.stdout, done.stderr
    results = place / "results" / "watching"
    heard, again = (
        [item["caption"] for item in json.loads((results / "runs" / name).read_text())["items"]]
        for name in (
            "additive-s0/predictions/audio.json",
            "video-audio-frozen-additive-s0/predictions/kept-audio.json",
        )
    )
    assert heard == again
    assert len(list((results / "questions").glob("*.json"))) == 1
    assert _says_where(results, place) == []


def test_killed_in_the_middle_no_run_is_lost_or_done_twice(
    place: Path, environment: dict[str, str], run: Run, unbroken: Path
) -> None:
    file = _write(place, name="killed")
    results = place / "results" / "killed"
    process = subprocess.Popen(
        _command(file, "--workers", "1"),
        cwd=place,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    for line in process.stderr:  # in the middle of the second run
        if "started" in line and "+scst" in line:
            break
    time.sleep(1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finished = _created(results)
    assert finished
    done = run(file, "--workers", "1")
    assert "5 runs: 5 done" in done.stdout, done.stderr
    assert {name: when for name, when in _created(results).items() if name in finished} == finished
    assert _without_run_ids(results) == _without_run_ids(unbroken)


def test_workers_do_not_outlive_the_study(place: Path, environment: dict[str, str]) -> None:
    process = subprocess.Popen(
        _command(_write(place, name="orphans")), cwd=place, env=environment, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    next(line for line in process.stderr if "started" in line)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert workers
    process.kill()
    _, alive = psutil.wait_procs(workers, timeout=120)
    assert alive == []


def test_a_failed_run_stops_no_other_and_is_named_with_its_log(place: Path, run: Run) -> None:
    variants = [{"label": "no such site", "set": {"system.sites": [99]}}, {}]
    file = _write(place, name="failing", experiments=[{"name": "A2", "phase": 1, "variants": variants}])
    done = run(file, "--workers", "1")
    assert done.returncode == 1
    assert "failed: additive-no-such-site-s0" in done.stdout
    log = Path("runs/failing/logs/additive-no-such-site-s0.log")
    assert str(log) in done.stdout.replace("\n", "")
    assert "99" in (place / log).read_text()
    assert (place / "results" / "failing" / "runs" / "additive-s0" / "run_card.json").is_file()


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory, repository: Path, environment: dict[str, str]) -> Iterator[None]:
    """A Slurm of one node."""
    needed = ("/usr/sbin/slurmctld", "/usr/sbin/slurmd", "/usr/sbin/munged")
    if os.geteuid() != 0 or not all(Path(path).is_file() for path in needed):
        pytest.skip("needs root, slurm-wlm and munge")
    pytest.importorskip("submitit")
    folder = tmp_path_factory.mktemp("slurm")
    script = repository / "tests" / "slurm" / "one_node.sh"
    started = subprocess.run([script, "start", folder], capture_output=True, text=True, timeout=180, check=False)
    if started.returncode:
        pytest.skip(f"Slurm did not start: {started.stderr}")
    environment["SLURM_CONF"] = str(folder / "slurm.conf")
    try:
        yield
    finally:
        subprocess.run(["scancel", "--user=root"], env=environment, timeout=60, check=False)
        subprocess.run([script, "stop", folder], timeout=60, check=False)


@pytest.mark.slurm
@pytest.mark.usefixtures("slurm")
def test_on_slurm_the_scores_are_those_of_this_machine_to_the_bit(place: Path, run: Run, unbroken: Path) -> None:
    done = run(_write(place, name="on-slurm"), "--executor", "slurm")
    assert "5 runs: 5 done" in done.stdout, done.stderr
    assert _without_run_ids(place / "results" / "on-slurm") == _without_run_ids(unbroken)


@pytest.mark.slurm
@pytest.mark.usefixtures("slurm")
def test_a_job_that_is_preempted_goes_on_from_its_checkpoint(
    place: Path, environment: dict[str, str], run: Run
) -> None:
    parts = {
        "set": {**SMALL["set"], "schedule.steps": 400, "evaluation.every": 200},
        "experiments": [{"name": "A2", "phase": 1}],
    }
    local = run(_write(place, name="long", **parts))
    assert local.returncode == 0, local.stderr
    file = _write(place, name="preempted", **parts)
    watching = subprocess.Popen(_command(file, "--executor", "slurm"), cwd=place, env=environment)
    log = _wait_for(lambda: next(iter((place / "runs" / "preempted").glob("additive-s0-*/log.jsonl")), None))
    _wait_for(lambda: sum('"step"' in line for line in log.read_text().splitlines()) > 20 or None)
    jobs = json.loads((place / "runs" / "preempted" / "slurm" / "jobs.json").read_text())["chains"]
    subprocess.run(["scancel", "--signal=USR2", jobs[0]["job"]], env=environment, check=True, timeout=60)
    assert watching.wait(1200) == 0
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert [event["event"] for event in events].count("resumed") == 1
    assert _without_run_ids(place / "results" / "preempted") == _without_run_ids(place / "results" / "long")


def _wait_for(find: Callable[[], Any], seconds: float = 600) -> Any:
    deadline = time.monotonic() + seconds
    while (found := find()) is None:
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)
    return found
