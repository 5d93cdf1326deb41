"""Sparklines and the bar that shows them."""

from __future__ import annotations

import io
import math

from fusion_train.live_curves import BLOCKS, LiveCurves, TrainingProgress, sparkline
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

numbers = st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=60)


def test_lowest_and_highest_and_a_curve_that_does_not_move():
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8) == BLOCKS
    assert sparkline([3.0, 3.0, 3.0], 8) == "▄▄▄"
    assert sparkline([], 8) == ""
    assert sparkline([1.0], 0) == ""


def test_more_values_than_blocks_are_averaged():
    assert sparkline([0, 0, 10, 10], 2) == "▁█"
    assert len(sparkline(list(range(1000)), 40)) == 40


def test_what_is_no_number_is_a_gap():
    assert sparkline([0.0, math.nan, 1.0], 3) == "▁ █"
    assert sparkline([math.inf, math.nan], 5) == "  "


@given(numbers, st.integers(1, 50))
def test_any_values_give_a_line_that_fits(values, width):
    line = sparkline(values, width)
    assert len(line) == min(width, len(values))
    assert set(line) <= set(BLOCKS)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30), st.floats(0.1, 100), st.floats(-100, 100))
def test_a_rising_curve_never_falls(values, scale, shift):
    line = sparkline([value * scale + shift for value in sorted(values)], 30)
    assert list(line) == sorted(line)


EVENTS = [
    {"event": "step", "step": 1, "loss": 2.0, "gates": {"12": 0.3, "24": 0.3}},
    {"event": "step", "step": 2, "loss": 9.0, "gates": {"12": 0.9, "24": 0.9}},
    {"event": "resumed", "step": 1},
    {"event": "step", "step": 2, "loss": 1.0, "gates": {"12": 0.4, "24": 0.2}},
    {"event": "evaluated", "step": 2, "cider_d": 0.55},
]


def curves_of_events() -> LiveCurves:
    curves = LiveCurves()
    for event in EVENTS:
        curves.add(event["event"], event)
    return curves


def test_curves_are_those_of_the_events_and_a_step_done_again_replaces_the_first():
    curves = curves_of_events()
    curves.add("step", {"step": 3, "loss": 0.5, "reward": 0.7, "gates": {}})
    assert {name: list(points.values()) for name, points in curves.curves.items()} == {
        "loss": [2.0, 1.0, 0.5],
        "α12": [0.3, 0.4],
        "α24": [0.3, 0.2],
        "val CIDEr-D": [0.55],
        "reward": [0.7],
    }


def test_the_score_on_val_has_the_name_of_its_metric():
    curves = LiveCurves()
    curves.add("evaluated", {"step": 1, "accuracy": 0.75})
    assert curves.curves == {"val accuracy": {1: 0.75}}


def test_the_bar_shows_them_below_itself_and_is_silent_elsewhere():
    bar = TrainingProgress(curves_of_events())
    assert bar.disable
    bar.add_task("train", total=9, completed=2, status="lr 1e-3")
    console = Console(file=io.StringIO(), width=100)
    console.print(bar.get_renderable())
    lines = [line.split() for line in console.file.getvalue().splitlines()]
    assert lines[0][0] == "train"
    assert "2/9" in lines[0]
    assert lines[1:] == [
        ["loss", "█▁", "1.000"],
        ["α12", "▁█", "0.400"],
        ["α24", "█▁", "0.200"],
        ["val", "CIDEr-D", "▄", "0.550"],
    ]
