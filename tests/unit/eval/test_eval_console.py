"""The package's own command scores, reranks and lists metrics, and ends errors with one sentence and an exit code."""

from __future__ import annotations

import json

import pytest
from fusion_eval import Predictions, Scores
from fusion_eval.console import main


@pytest.fixture
def files(tmp_path, predictions, references):
    predictions.write(tmp_path / "p.json")
    references.write(tmp_path / "r.json")
    return tmp_path


def _arguments(command, folder, *more):
    return [command, "--predictions", str(folder / "p.json"), "--references", str(folder / "r.json"), *more]


def test_scores_are_printed_and_written(files, capsys):
    out = files / "scores.json"
    assert main(_arguments("score", files, "--metrics", "bleu_1,cider_d", "--out", str(out))) == 0
    scores = Scores.read(out)
    lines = dict(line.rsplit(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert {name: float(value) for name, value in lines.items()} == {
        name: pytest.approx(value, abs=5e-5) for name, value in scores.metrics.items()
    }
    assert main(_arguments("score", files, "--metrics", "cider_d", "--json")) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["cider_d"] == scores.metrics["cider_d"]


def test_a_metric_that_is_absent_is_named_and_asked_for_by_name_ends_with_4(files, capsys):
    empty = files / "none"
    assert main(_arguments("score", files, "--metrics", "cider_d,fer", "--assets", str(empty))) == 4
    captured = capsys.readouterr()
    assert "cider_d" in captured.out
    assert captured.err.startswith("fer: ")


def test_errors_are_one_sentence(files, capsys):
    assert main(_arguments("score", files, "--metrics", "blue")) == 2
    assert main(["score", "--predictions", str(files / "no.json"), "--references", str(files / "r.json")]) == 3
    lines = capsys.readouterr().err.splitlines()
    assert [line.startswith("error: ") for line in lines if "blue" in line or "no.json" in line] == [True, True]


def test_captions_are_reranked(files, capsys):
    content = json.loads((files / "p.json").read_text())
    for item in content["items"]:
        item["candidates"] = [{"text": text} for text in ("a dog", "rain falls", "rain is falling", item["caption"])]
    (files / "p.json").write_text(json.dumps(content))
    out = files / "q.json"
    assert main(["rerank", "--predictions", str(files / "p.json"), "--out", str(out)]) == 0
    assert [item.id for item in Predictions.read(out).items] == [item["id"] for item in content["items"]]
    assert f"of {len(content['items'])} captions changed" in capsys.readouterr().out


def test_weights_are_tuned_on_val_and_refused_elsewhere(files, capsys):
    content = json.loads((files / "p.json").read_text())
    truth = json.loads((files / "r.json").read_text())
    for item in content["items"]:
        item["candidates"] = [{"text": text} for text in ("a dog barks", "rain falls on a roof")]
    content.pop("references_sha256", None)
    out = files / "w.json"
    for split, code in (("test", 2), ("val", 0)):
        (files / "p.json").write_text(json.dumps(content | {"split": split}))
        (files / "r.json").write_text(json.dumps(truth | {"split": split}))
        assert main(_arguments("tune-rerank", files, "--out", str(out))) == code
    assert json.loads(capsys.readouterr().out)["weights"] == json.loads(out.read_text())["weights"]


def test_the_list_names_every_metric(capsys):
    from fusion_eval.registry import resolve_metrics

    assert main(["metrics"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert listed == [metric.name for metric in resolve_metrics(["all"])]
