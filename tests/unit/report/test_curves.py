"""Curves from logs alone: of runs that run, were killed, taken up again, rolled back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fusion_eval.errors import DataError
from fusion_report.curve_figure import draw_curves
from fusion_report.curves import read_curves, smoothed


def write_log(folder: Path, *events: dict[str, Any], tail: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"time": 0.0, **event}) for event in events]
    (folder / "log.jsonl").write_text("\n".join(lines) + "\n" + tail)
    return folder


def step(number: int, loss: float, **more: Any) -> dict[str, Any]:
    return {"event": "step", "step": number, "loss": loss, "gates": {"3": 0.1 * number, "12": 0.2}, **more}


def evaluated(number: int, score: float) -> dict[str, Any]:
    return {"event": "evaluated", "step": number, "cider_d": score, "addition_ratio": {"3": 0.3, "12": 0.4}}


def test_a_log_is_read_as_far_as_it_is_written(tmp_path):
    log = write_log(
        tmp_path / "a", {"event": "prepared"}, step(1, 3.0), step(2, 2.0), evaluated(2, 0.4), tail='{"event": "st'
    )
    (run,) = read_curves([log])
    assert (run.run, run.state, run.step, run.best) == ("a", "open", 2, (2, 0.4))
    assert run.series["loss"] == {"loss": {1: 3.0, 2: 2.0}}
    assert run.series["gates"]["3"] == {1: 0.1, 2: 0.2}
    assert run.last("addition_ratio") == {"3": 0.3, "12": 0.4}
    assert run.marks == []


def test_a_run_that_questions_judge_is_read_by_its_accuracy(tmp_path):
    asked = {"event": "evaluated", "step": 1, "accuracy": 0.75}
    (run,) = read_curves([write_log(tmp_path / "a", step(1, 3.0), asked)])
    assert (run.judged_by, run.best) == ("accuracy", (1, 0.75))
    assert run.as_dict()["best"] == {"step": 1, "accuracy": 0.75}
    assert run.series["accuracy"] == {"val accuracy": {1: 0.75}}


def test_steps_done_twice_count_as_they_were_done_last_and_the_rest_is_marked(tmp_path):
    log = write_log(
        tmp_path,
        {"event": "phase", "step": 0, "phase": "xe"},
        *[step(number, 3.0) for number in range(1, 6)],
        {"event": "finished"},
        {"event": "resumed", "step": 3},
        step(4, 2.0),
        {"event": "contingency", "step": 4, "action": "halved learning rates"},
        step(5, float("nan")),
        step(6, 1.0, reward=0.5, baseline=0.4, entropy=1.5, divergence=0.01),
    )
    (run,) = read_curves([log])
    assert run.series["loss"]["loss"] == {1: 3.0, 2: 3.0, 3: 3.0, 4: 2.0, 6: 1.0}
    assert run.state == "open"
    assert [(mark.step, mark.text) for mark in run.marks] == [
        (0, "xe"),
        (3, "resumed"),
        (4, "contingency: halved learning rates"),
        (5, "loss is no number"),
    ]
    assert run.series["reward"] == {"reward": {6: 0.5}, "baseline": {6: 0.4}}
    assert run.as_dict()["series"]["divergence"] == {"divergence": [[6, 0.01]]}
    json.dumps(run.as_dict(), allow_nan=False)


def test_what_is_done_again_is_forgotten_at_once(tmp_path):
    """A run that started again with fewer tokens shows nothing of its first attempt, and a rollback nothing after its step."""
    attempt = [step(1, 9.0), step(2, 9.0), evaluated(2, 0.1)]
    again = {"event": "contingency", "action": "fewer tokens", "trigger": "no number"}
    (run,) = read_curves([write_log(tmp_path / "a", *attempt, again, step(1, 3.0))])
    assert (run.step, run.series["loss"]["loss"], run.best) == (1, {1: 3.0}, None)
    assert [(mark.step, mark.text) for mark in run.marks] == [(0, "contingency: fewer tokens")]
    back = {"event": "contingency", "step": 1, "action": "rollback"}
    (run,) = read_curves([write_log(tmp_path / "b", *attempt, back)])
    assert (run.step, run.series["loss"]["loss"], run.best) == (1, {1: 9.0}, None)


def test_self_critical_training_begins_with_the_score_of_its_start(tmp_path):
    events = ({"event": "started", "cider_d": 0.5}, step(1, -0.1, reward=0.4, divergence=0.0), evaluated(1, 0.6))
    (run,) = read_curves([write_log(tmp_path / "run" / "scst", *events)])
    assert run.run == "run/scst"
    assert run.series["cider_d"]["val CIDEr-D"] == {0: 0.5, 1: 0.6}
    draw_curves([run], tmp_path / "curves")
    svg = (tmp_path / "curves.svg").read_text()
    assert "reward of the samples" in svg
    assert "KL" not in svg


def test_a_finished_run_says_so_and_equal_names_are_told_apart(tmp_path):
    events = (step(1, 1.0), {"event": "trained", "step": 1}, {"event": "finished"})
    runs = read_curves([write_log(tmp_path / place / "run", *events) for place in ("old", "new")])
    assert [(run.run, run.state) for run in runs] == [("old/run", "finished"), ("new/run", "finished")]


def test_what_is_no_run_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no log\.jsonl here"):
        read_curves([tmp_path])
    with pytest.raises(DataError, match="no step yet"):
        read_curves([write_log(tmp_path, {"event": "prepared"})])


def test_smoothing_looks_back_only_and_keeps_what_is_constant():
    constant = dict.fromkeys(range(1, 40), 2.5)
    assert smoothed(constant) == pytest.approx(constant)
    points = {step: float(step % 3) for step in range(1, 30)}
    whole, part = smoothed(points, 5), smoothed({step: points[step] for step in range(1, 12)}, 5)
    assert part == pytest.approx({step: whole[step] for step in part})


def test_the_figure_has_a_panel_for_what_was_logged_and_marks(tmp_path):
    rates = {"learning_rates": {"projector": 1e-3, "adapters": 1e-3, "gates": 1e-2}}
    log = write_log(
        tmp_path / "one",
        *[step(number, 3.0 / number, **rates) for number in range(1, 6)],
        {"event": "resumed", "step": 3},
        evaluated(5, 0.4),
    )
    png = draw_curves(read_curves([log]), tmp_path / "report" / "curves")
    assert png.read_bytes().startswith(b"\x89PNG")
    svg = (tmp_path / "report" / "curves.svg").read_text()
    for text in (
        "loss (faint: each step)",
        "val CIDEr-D",
        "gate by site",
        "learning rate",
        "projector, adapters",
        "resumed",
    ):
        assert text in svg
    assert "reward" not in svg


def test_runs_are_overlaid_and_many_sites_are_shown_as_mean_and_range(tmp_path):
    many = {str(site): 0.01 * site for site in range(30)}
    logs = [
        write_log(tmp_path / "additive", step(1, 3.0), step(2, 2.0)),
        write_log(tmp_path / "cross", step(1, 3.0) | {"gates": many}, step(2, 2.5) | {"gates": many}),
        *[write_log(tmp_path / f"more-{number}", step(1, 2.0), step(2, 1.0)) for number in range(8)],
    ]
    draw_curves(read_curves(logs), tmp_path / "curves.png")
    svg = (tmp_path / "curves.svg").read_text()
    assert all(text in svg for text in ("additive", "cross", "more-7", "mean of 30", "mean and range"))


def test_the_command_prints_a_table_or_every_point(tmp_path, fusion_here):
    log = write_log(tmp_path / "run", step(1, 3.0), step(2, 2.0), evaluated(2, 0.4), {"event": "resumed", "step": 2})
    command = ["report", "curves", str(log)]
    done = fusion_here(tmp_path, *command, "--out", str(tmp_path / "c.png"))
    assert done.returncode == 0, done.stderr
    assert "0.400 at 2" in done.stdout
    assert "resumed" in done.stdout
    assert (tmp_path / "c.svg").is_file()
    (found,) = json.loads(fusion_here(tmp_path, *command, "--json").stdout)
    assert found["series"]["loss"]["loss"] == [[1, 3.0], [2, 2.0]]
    assert found["best"] == {"step": 2, "cider_d": 0.4}
