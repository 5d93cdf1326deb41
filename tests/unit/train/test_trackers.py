"""Trackers: each value once, also when steps are done again; a missing one is named before anything begins."""

from __future__ import annotations

import importlib.util
import json
import math
from typing import Any

import pytest
from fusion_core.errors import ConfigError, MissingAssetError
from fusion_core.journal import Journal
from fusion_train import trackers
from fusion_train.live_curves import LiveCurves
from fusion_train.trackers import Trackers, ViewedJournal

SETTINGS = {"seed": 0, "schedule": {"steps": 9}, "system": {"sites": [3, 6]}, "bank": None}


class Recorder:
    """What accelerate's trackers look like from outside, remembering what it is given over all runs."""

    def __init__(self) -> None:
        self.started = self.finished = 0
        self.configurations: list[dict[str, Any]] = []
        self.points: list[tuple[str, int, float]] = []

    def start(self) -> None:
        self.started += 1

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.configurations.append(values)

    def log(self, values: dict[str, float], step: int) -> None:
        self.points += [(key, step, value) for key, value in values.items()]

    def finish(self) -> None:
        self.finished += 1


@pytest.fixture
def recorder(monkeypatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(trackers, "_make", lambda name, folder, run_id: recorder)
    monkeypatch.setattr(trackers, "require_tracker", lambda name: None)
    return recorder


def step(tracker: Trackers, number: int) -> None:
    tracker.log({"loss": 1 / number, "gates": {"3": 0.1, "6": 0.2}, "phase": "xe"}, number)


def test_nested_values_are_flat_and_words_are_left_out(recorder, tmp_path):
    tracker = Trackers(["wandb"], tmp_path, "run", SETTINGS)
    step(tracker, 1)
    assert recorder.points == [("loss", 1, 1.0), ("gates/3", 1, 0.1), ("gates/6", 1, 0.2)]
    assert recorder.configurations == [{"seed": 0, "schedule/steps": 9, "system/sites": "[3, 6]", "bank": "null"}]


def test_steps_done_again_after_a_kill_are_given_once(recorder, tmp_path):
    """Killed at step 7, taken up at the checkpoint of step 4; an evaluation that the kill cut off is still given."""
    first = Trackers(["wandb"], tmp_path, "run", SETTINGS)
    for number in range(1, 8):
        step(first, number)
    second = Trackers(["wandb"], tmp_path, "run", SETTINGS)
    for number in range(5, 10):
        step(second, number)
        if number == 7:
            second.log({"cider_d": 0.5}, number)
    losses = [(number, value) for key, number, value in recorder.points if key == "loss"]
    assert losses == [(number, 1 / number) for number in range(1, 10)]
    assert ("cider_d", 7, 0.5) in recorder.points
    assert recorder.started == 2
    assert len(recorder.configurations) == 1


def test_a_value_that_was_about_to_be_given_when_the_process_died_is_not_given_twice(recorder, tmp_path, monkeypatch):
    tracker = Trackers(["wandb"], tmp_path, "run", SETTINGS)
    given = recorder.log

    def give_and_die(values: dict[str, float], step: int) -> None:
        given(values, step)
        raise KeyboardInterrupt

    monkeypatch.setattr(recorder, "log", give_and_die)
    with pytest.raises(KeyboardInterrupt):
        step(tracker, 1)
    monkeypatch.setattr(recorder, "log", given)
    step(Trackers(["wandb"], tmp_path, "run", SETTINGS), 1)
    assert [point for point in recorder.points if point[0] == "loss"] == [("loss", 1, 1.0)]


def test_other_processes_track_nothing_and_finishing_twice_is_no_harm(recorder, tmp_path):
    other = Trackers(["wandb"], tmp_path, "run", SETTINGS, main=False)
    step(other, 1)
    other.finish()
    assert (recorder.started, recorder.points, list(tmp_path.iterdir())) == (0, [], [])
    mine = Trackers(["wandb"], tmp_path, "run", SETTINGS)
    mine.finish()
    mine.finish()
    assert recorder.finished == 1


def test_none_asked_for_writes_nothing(tmp_path):
    none = Trackers([], tmp_path, "run", SETTINGS)
    step(none, 1)
    none.finish()
    assert list(tmp_path.iterdir()) == []


def test_a_missing_or_misspelt_tracker_is_named_with_the_mend(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="did you mean 'tensorboard'"):
        Trackers(["tensorbord"], tmp_path, "run", SETTINGS)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingAssetError, match=r"pip install 'fusion-train\[trackio\]'"):
        Trackers(["trackio"], tmp_path, "run", SETTINGS)


def test_a_journal_with_views_feeds_curves_and_trackers_and_remembers_its_own_lines(recorder, tmp_path):
    path = tmp_path / "log.jsonl"
    Journal(path).write("step", step=1, loss=3.0, gates={"3": 0.1})
    curves = LiveCurves()
    journal = ViewedJournal(path, curves, Trackers(["wandb"], tmp_path, "run", SETTINGS))
    journal.write("step", step=2, loss=2.0, gates={"3": 0.2})
    journal.write("evaluated", step=2, cider_d=0.4, stopped_early=False)
    journal.write("contingency", step=2, rollbacks=1)
    journal.close()
    assert curves.curves == {"loss": {1: 3.0, 2: 2.0}, "α3": {1: 0.1, 2: 0.2}, "val CIDEr-D": {2: 0.4}}
    assert recorder.points == [("loss", 2, 2.0), ("gates/3", 2, 0.2), ("cider_d", 2, 0.4)]
    assert [event["event"] for event in journal.read()] == ["step", "step", "evaluated", "contingency"]
    assert recorder.finished == 1


def test_a_tracker_that_does_not_start_is_one_sentence(recorder, tmp_path, monkeypatch):
    def refuse() -> None:
        raise RuntimeError("no key\nlong explanation")

    monkeypatch.setattr(recorder, "start", refuse)
    with pytest.raises(ConfigError, match=r"did not start \(no key\); WANDB_MODE=offline"):
        Trackers(["wandb"], tmp_path, "run", SETTINGS)


def test_what_a_tracker_prints_does_not_mix_with_results(recorder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(recorder, "start", lambda: print("started"))
    monkeypatch.setattr(recorder, "finish", lambda: print("finished"))
    Trackers(["trackio"], tmp_path, "run", SETTINGS).finish()
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "started\nfinished\n")


@pytest.mark.parametrize("killed", [3, 6])
def test_tensorboard_holds_each_step_once(tmp_path, killed):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    first = Trackers(["tensorboard"], tmp_path, "run", SETTINGS)
    for number in range(1, killed + 1):
        step(first, number)
    del first  # no finish: what the kernel has is all that is left
    second = Trackers(["tensorboard"], tmp_path, "run", SETTINGS)
    for number in range(3, 9):
        step(second, number)
    second.log({"loss": math.nan}, 9)
    second.finish()
    found = EventAccumulator(str(tmp_path / "trackers" / "tensorboard"))
    found.Reload()
    assert {"loss", "gates/3", "gates/6"} <= set(found.Tags()["scalars"])
    assert [event.step for event in found.Scalars("loss")] == list(range(1, 10))
    assert json.loads((tmp_path / "trackers" / "marks.json").read_text())["tensorboard"]["loss"] == 9
