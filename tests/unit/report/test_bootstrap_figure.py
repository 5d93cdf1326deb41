"""The figure of a comparison, from its file alone."""

from __future__ import annotations

import pytest
from fusion_eval.errors import ConfigError, DataError
from fusion_eval.schemas.comparison import Comparison
from fusion_report.bootstrap import draw_bootstrap

HASH = "0" * 64


def _metric(value: float, difference: dict | None = None) -> dict:
    side = {"value": value, "seeds": {"values": [value], "mean": value}}
    return {"a": side, "b": side, "difference": difference or {"value": 0.0}}


def _spread(low: float, high: float) -> dict:
    return {"standard_error": 0.01, "percentile": {"low": low, "high": high}, "bca": {"low": low, "high": high}}


def _comparison(**metrics) -> Comparison:
    return Comparison.model_validate(
        {
            "dataset": "demo",
            "split": "test",
            "a": [{"system": "additive", "predictions_sha256": HASH}],
            "b": [{"system": "concatenation", "predictions_sha256": HASH}],
            "references_sha256": HASH,
            "n": 10,
            "resamples": 100,
            "seed": 0,
            "confidence": 0.95,
            "metrics": metrics,
            "oracle": ["cider_d_max"],
            "method": {},
            "definition": {},
            "tools": {},
        }
    )


DRAWN = {
    "value": 0.05,
    "spread": _spread(-0.01, 0.1),
    "p": 0.034,
    "p_sign_flip": 0.04,
    "histogram": {"low": -0.05, "high": 0.15, "counts": [1, 5, 20, 50, 20, 4]},
}


@pytest.fixture
def comparison() -> Comparison:
    same = {"value": 0.0, "spread": _spread(0.0, 0.0), "p": 1.0, "histogram": {"low": 0, "high": 0, "counts": [100]}}
    return _comparison(
        cider_d=_metric(0.7, DRAWN),
        cider_d_max=_metric(0.9, DRAWN),
        rouge_l=_metric(0.4, same),
        vocabulary=_metric(300.0) | {"reason": "no sum"},
    )


def test_the_figure_names_systems_metrics_intervals_and_oracles(comparison, tmp_path):
    draw_bootstrap(comparison, tmp_path / "figure.svg")
    svg = (tmp_path / "figure.svg").read_text()
    assert "additive less concatenation" in svg
    assert "+0.050 [-0.010, +0.100], p = 0.034" in svg
    assert "CIDEr-D-max (oracle)" in svg
    assert "ROUGE-L" in svg
    assert "vocabulary" not in svg
    for colour in ("#0072B2", "#9ecae1", "#D55E00"):
        assert colour.lower() in svg.lower()


@pytest.mark.parametrize(("name", "start"), [("f.png", b"\x89PNG"), ("f.pdf", b"%PDF"), ("f.html", b"<!DOCTYPE html>")])
def test_every_format_is_written(comparison, tmp_path, name, start):
    draw_bootstrap(comparison, tmp_path / "new" / name)
    assert (tmp_path / "new" / name).read_bytes().lstrip().startswith(start)


def test_systems_of_one_name_are_told_apart(comparison, tmp_path):
    same = comparison.model_copy(update={"b": comparison.a})
    draw_bootstrap(same, tmp_path / "figure.svg")
    assert "additive (a) less additive (b)" in (tmp_path / "figure.svg").read_text()


def test_another_ending_is_refused(comparison, tmp_path):
    with pytest.raises(ConfigError, match=r"ends in \.svg"):
        draw_bootstrap(comparison, tmp_path / "figure.docx")


def test_nothing_to_draw_is_said(tmp_path):
    with pytest.raises(DataError, match="nothing to draw"):
        draw_bootstrap(_comparison(vocabulary=_metric(1.0)), tmp_path / "figure.svg")
