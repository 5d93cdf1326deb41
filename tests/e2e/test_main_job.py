"""The main job through the command line, with the tiny profile: data, features, training, captions, scores, run card."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fusion_eval.schemas import Predictions, RunCard, Scores

pytestmark = pytest.mark.slow
CONDITIONS = ["audio", "class_prior", "nearest_neighbour", "none", "shuffled"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a cache of its own."""
    return tmp_path_factory.mktemp("main-job")


def command(place: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "fusion_cli", *arguments]


def environment(place: Path) -> dict[str, str]:
    return {**os.environ, "FUSION_CACHE": str(place / "cache"), "OMP_NUM_THREADS": "1", "COLUMNS": "160"}


def fusion(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(place, *arguments),
        cwd=place,
        env=environment(place),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def train(*more: str) -> list[str]:
    return ["train", "scenes", "--system", "additive", "--profile", "tiny", *more]


@pytest.fixture(scope="module")
def finished(place: Path, fusion_here: Callable[..., Any]) -> Path:
    """An unbroken run, in this process."""
    done = fusion_here(place, *train("--out", "runs/unbroken", "--json"))
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert {row["condition"] for row in rows} == set(CONDITIONS)
    assert {row["subset"] for row in rows} == {"all", "seen", "held-out"}
    return place / "runs" / "unbroken"


def test_a_run_leaves_every_file_and_they_fit_each_other(finished):
    card = RunCard.read(finished / "run_card.json")
    assert sorted(result.condition for result in card.results) == CONDITIONS
    for result in card.results:
        predictions = Predictions.read(finished / "predictions" / f"{result.condition}.json")
        scores = Scores.read(finished / "scores" / f"{result.condition}.json")
        assert predictions.sha256() == result.predictions_sha256 == scores.predictions_sha256
        assert scores.sha256() == result.scores_sha256
        assert set(scores.metrics) >= {"cider_d", "event_f1"}
    assert card.parameters.total == sum(card.parameters.parts.values())
    assert card.system.final_gates.keys() == {3, 6}
    assert card.training.steps == 8
    assert (finished / "controls.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (finished / "controls.svg").read_text()


def test_without_audio_every_caption_is_the_same_and_with_it_candidates_are_kept(finished):
    none = Predictions.read(finished / "predictions" / "none.json")
    assert len({item.caption for item in none.items}) == 1
    audio = Predictions.read(finished / "predictions" / "audio.json")
    assert all(len(item.candidates) == 2 for item in audio.items)
    assert all(item.caption == item.candidates[0].text for item in audio.items)


def test_a_second_run_starts_from_the_caches_and_gives_the_same_adapter(place, finished, fusion_here):
    done = fusion_here(place, *train("--out", "runs/second"))
    assert done.returncode == 0, done.stderr
    encoded = [json.loads(line) for line in (place / "runs/second/log.jsonl").read_text().splitlines()]
    report = next(event for event in encoded if event["event"] == "encoded")
    assert (report["encoded"], report["cached"]) == (0, 34)
    assert (place / "runs/second/adapter/adapter.safetensors").read_bytes() == adapter(finished)


def adapter(run: Path) -> bytes:
    return (run / "adapter" / "adapter.safetensors").read_bytes()


def test_killed_between_two_checkpoints_and_resumed_it_is_the_unbroken_run(place, finished, fusion_here):
    """SIGKILL, as the machine would; the last steps are lost and done again, by processes of their own to the end."""
    run = place / "runs" / "killed"
    process = subprocess.Popen(
        command(place, *train("--out", "runs/killed")), cwd=place, env=environment(place), stderr=subprocess.DEVNULL
    )
    log = run / "log.jsonl"
    deadline = time.monotonic() + 120
    while not (log.exists() and '"step": 5' in log.read_text()):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (run / "adapter").exists()
    refused = fusion_here(place, *train("--out", "runs/killed"))
    assert refused.returncode == 2
    assert "--resume" in refused.stderr
    done = fusion(place, *train("--out", "runs/killed", "--resume"))
    assert done.returncode == 0, done.stderr
    assert "taken up again at step 4" in done.stderr
    assert adapter(run) == adapter(finished)


def test_stopped_by_sigterm_it_saves_and_exits_130(place, finished, fusion_here):
    run = place / "runs" / "stopped"
    process = subprocess.Popen(
        command(place, *train("--out", "runs/stopped", "--set", "checkpoint_every=100")),
        cwd=place,
        env=environment(place),
        stderr=subprocess.PIPE,
        text=True,
    )
    log = run / "log.jsonl"
    deadline = time.monotonic() + 120
    while not (log.exists() and '"event": "step"' in log.read_text()):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "go on with --resume" in errors
    done = fusion_here(place, *train("--out", "runs/stopped", "--set", "checkpoint_every=100", "--resume"))
    assert done.returncode == 0, done.stderr
    assert adapter(run) == adapter(finished)


def test_captions_of_files_come_first_on_the_output(place, finished, fusion_here):
    clips = sorted((place / "data").rglob("*.flac"))[:2]
    bad = place / "text.wav"
    bad.write_text("not audio")
    one = fusion_here(place, "caption", str(clips[0]), "--ckpt", str(finished))
    assert one.returncode == 0, one.stderr
    assert len(one.stdout.splitlines()) == 1
    three = fusion_here(place, "caption", str(clips[0]), str(bad), str(clips[1]), "--ckpt", str(finished))
    assert three.returncode == 3
    assert str(bad) in three.stderr
    assert [line.split("\t")[0] for line in three.stdout.splitlines()] == [str(clip) for clip in clips]
    assert three.stdout.splitlines()[0].split("\t")[1] == one.stdout.splitlines()[0]


def test_a_dry_run_trains_nothing(place, finished, fusion_here):
    before = sorted(place.rglob("*"))
    done = fusion_here(place, *train("--dry-run", "--json", "--out", "runs/dry"))
    plan = json.loads(done.stdout)
    assert plan["steps"] == 8
    assert plan["total_parameters"] == RunCard.read(finished / "run_card.json").parameters.total
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (train("--set", "optimiser.lr=1"), 2, "optimiser.lr"),
        (train("--set", "system.sites=[99]"), 2, "from 0 to 7"),
        (train("--set", "system.colour=red"), 2, "no such option"),
        (train("--set", "nonsense"), 2, "key=value"),
        (["train", "scene", "--system", "additive"], 2, "did you mean 'scenes'"),
        (["train", "scenes", "--system", "aditive", "--profile", "tiny", "--dry-run"], 2, "did you mean 'additive'"),
        (train("--set", "backbone=nowhere", "--dry-run"), 4, "There is no backbone 'nowhere'"),
        (["caption", "x.wav", "--ckpt", "nowhere"], 3, "no run here"),
    ],
)
def test_mistakes_end_with_one_sentence_and_their_code(place, finished, fusion_here, arguments, code, sentence):
    done = fusion_here(place, *arguments)
    assert done.returncode == code, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("error:")]) == 1
