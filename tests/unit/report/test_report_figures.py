"""The figures of a study: drawn from its files, readable in print, told apart by colour-blind eyes, the same bytes each time."""

from __future__ import annotations

import json

import numpy as np
import pytest
import vl_convert
from fusion_report.figures.catalogue import FIGURES
from fusion_report.figures.pareto import pareto, pareto_points
from fusion_report.figures.style import COLUMN, PAGE, render, specification
from fusion_report.legibility import problems, text_boxes
from fusion_report.palette import CATEGORIES, MATRICES, SYSTEM_COLOURS, confusable, least_difference
from fusion_report.target_hours import evaluations, target_times

NARROW = COLUMN + 20  # what a legend may stand out by


@pytest.fixture(scope="module")
def figures(study):
    return {name: build(study) for name, build in FIGURES.items()}


@pytest.mark.parametrize("name", list(FIGURES))
def test_text_can_be_read_and_colours_told_apart(figures, name):
    figure = figures[name]
    assert figure.reason is None
    widest = PAGE if name == "bootstrap" else NARROW
    assert problems(render(specification(figure.chart), "svg").decode(), widest) == []
    assert confusable(figure.colours) == []
    assert figure.caption
    assert figure.sources


def test_the_same_content_gives_the_same_bytes(study, figures):
    again = FIGURES["pareto"](study)
    assert specification(again.chart) == specification(figures["pareto"].chart)
    for ending in ("svg", "png"):
        assert render(specification(again.chart), ending) == render(specification(figures["pareto"].chart), ending)
    assert render(specification(again.chart), "png").startswith(b"\x89PNG")
    assert b"CreationDate" not in render(specification(again.chart), "pdf")


@pytest.mark.parametrize("name", list(FIGURES))
def test_a_pdf_is_the_same_bytes_each_time(name, figures):
    if figures[name].chart is None:
        pytest.skip(figures[name].reason)
    specified = specification(figures[name].chart)
    first = render(specified, "pdf")  # the converter puts what a page refers to in a random order
    assert all(render(specified, "pdf") == first for _ in range(3))
    raw = bytes(vl_convert.vegalite_to_pdf(specified))
    assert (len(first), first[-64:]) == (len(raw), raw[-64:])  # each object is where the file's end says


def test_the_check_finds_what_cannot_be_read():
    def svg(*texts: str) -> str:
        head = '<svg xmlns="http://www.w3.org/2000/svg" width="200" height="60" viewBox="0 0 200 60">'
        return head + "".join(texts) + "</svg>"

    def text(x: float, y: float, words: str, more: str = 'font-size="10px"') -> str:
        return f'<g transform="translate({x},{y})"><text {more}>{words}</text></g>'

    assert problems(svg(text(10, 20, "one"), text(10, 40, "two"))) == []
    assert "stand over" in problems(svg(text(10, 20, "one"), text(20, 22, "two")))[0]
    assert "too close" in problems(svg(text(10, 20, "0.60"), text(31.5, 20, "0.65")))[0]
    assert "stands out" in problems(svg(text(180, 20, "a long label")))[0]
    assert "stands out" in problems(svg(text(20, 40, "a long label", 'font-size="10px" transform="rotate(-90)"')))[0]
    assert "is cut" in problems(svg(text(10, 20, "a lo…")))[0]
    assert "points high" in problems(svg(text(10, 20, "small", 'font-size="8px"')))[0]
    assert "px wide" in problems(svg(text(10, 20, "one")), widest=100)[0]
    assert problems(svg(text(10, 20, "one"), text(12, 20, "hidden", 'font-size="10px" opacity="0"'))) == []
    (box,) = text_boxes(svg(text(100, 30, "mmmm", 'font-size="10px" text-anchor="middle"')))
    assert (box.left + box.right) / 2 == pytest.approx(100, abs=1)


def test_the_simulation_is_the_published_one():
    """Greys stay as they are, and red and green of equal lightness fall together for who lacks red or green cones."""
    for matrix in MATRICES.values():
        np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=2e-6)
    red, green = "#B35900", "#6B7A00"
    normal = least_difference([red, green], "normal")[0]
    assert least_difference([red, green], "deuteranopia")[0] < normal / 2
    assert confusable(["#ff0000", "#fe0000"])
    assert confusable([*SYSTEM_COLOURS.values()]) == confusable(CATEGORIES) == []
    assert least_difference(["#000000", "#ffffff"], "normal")[0] == pytest.approx(100, abs=0.01)


def test_the_front_holds_what_nothing_beats(study):
    points = pareto_points(study)
    for point in points:
        beaten = any(other.parameters <= point.parameters and other.score > point.score for other in points)
        assert point.front is not beaten
    assert {point.kind for point in points} == {"XE", "+ SCST", "ablation"}
    assert all(point.low < point.score < point.high for point in points)


def test_hours_leave_out_the_time_between_a_cut_and_the_taking_up_again(own_results, open_study_at):
    log = own_results / "runs" / "additive-s0" / "log.jsonl"
    events = [
        {"time": 0, "event": "encoded"},
        {"time": 1000, "event": "step", "step": 1, "loss": 1},
        {"time": 1036, "event": "evaluated", "step": 1, "cider_d": 0.1},
        {"time": 1072, "event": "evaluated", "step": 2, "cider_d": 0.5},
        {"time": 90000, "event": "resumed", "step": 1},
        {"time": 90036, "event": "evaluated", "step": 2, "cider_d": 0.3},
    ]
    log.write_text("".join(json.dumps(event) + "\n" for event in events))
    study = open_study_at(own_results)
    group = study.reference()
    assert evaluations(group.runs[0]) == [(0.01, 0.1), (0.03, 0.3)]
    (reached, *_), (censored, *_) = (target_times(study, [group], target) for target in (0.3, 0.9))
    assert (reached.reached, reached.hours) == (True, 0.03)
    assert (censored.reached, censored.hours) == (False, 0.03)


def test_a_figure_without_data_says_why(own_results, open_study_at):
    import shutil

    for name in ("references", "events"):
        shutil.rmtree(own_results / name)
    for path in own_results.glob("runs/*/stability.jsonl"):
        path.unlink()
    for path in own_results.glob("runs/*/log.jsonl"):
        path.unlink()
    study = open_study_at(own_results)
    reasons = {
        name: FIGURES[name](study).reason for name in ("breakdown-classes", "breakdown-lengths", "gates", "curves")
    }
    assert "do not keep the events" in reasons["breakdown-classes"]
    assert "do not keep the references" in reasons["breakdown-lengths"]
    assert "logged its gates" in reasons["gates"]
    assert "log with a step" in reasons["curves"]
    assert FIGURES["stability"](study).chart is not None  # the ends after training are still known


@pytest.mark.parametrize("key", ["breakdown-lengths", "breakdown-subsets", "breakdown-classes"])
def test_every_part_of_a_breakdown_has_its_label(figures, key):
    text = render(specification(figures[key].chart), "svg").decode()
    parts = {row["part"] for data in figures[key].chart.to_dict()["datasets"].values() for row in data}
    assert parts
    assert not [part for part in parts if f">{part}<" not in text]


def test_shapes_are_told_in_a_legend_and_variants_of_the_frontier_have_their_own(figures):
    front, frontier = (render(specification(figures[key].chart), "svg").decode() for key in ("pareto", "stability"))
    assert all(f">{words}<" in front for words in ("XE", "+ SCST", "fewer tokens or narrower"))
    assert all(f">{words}<" in frontier for words in ("XE", "+ SCST"))


def test_points_that_are_moved_sideways_stay_right_of_the_axis(study):
    layers = pareto(study).chart.to_dict()["layer"]
    offsets = [abs(layer["mark"].get("xOffset", 0)) for layer in layers]
    assert max(offsets) > 9, "several sizes are nearly equal"
    assert {layer["encoding"]["x"]["scale"]["padding"] for layer in layers} == {max(offsets) + 12}
