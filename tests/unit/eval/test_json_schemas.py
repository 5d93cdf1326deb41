"""The JSON Schemas in the repository are those of the models, and say of files what the models say."""

from __future__ import annotations

import json

import jsonschema
import pytest
from fusion_eval.comparing import compare
from fusion_eval.retention import MARGIN, METHOD, compare_answers
from fusion_eval.schemas import ManifestRow
from fusion_eval.schemas.__main__ import FILES, main
from fusion_eval.schemas.questions import Accuracy, ModalityCondition, ModalityScores, QuestionItem, Questions
from fusion_eval.schemas.rerank import RerankWeights, TunedWeights
from fusion_eval.schemas.retention import Answers, Outcome, Question, Retention, RetentionBackbone
from fusion_eval.schemas.study import Decision, Measure, StudyCard, StudyRun, StudyRunFile
from fusion_eval.scoring import score


def test_the_files_in_the_repository_have_not_drifted(repository):
    assert main(["--check", "--folder", str(repository / "schemas")]) == 0


def test_drift_is_found_and_named(tmp_path, capsys):
    assert main(["--folder", str(tmp_path)]) == 0
    assert main(["--check", "--folder", str(tmp_path)]) == 0
    (tmp_path / "scores.schema.json").write_text("{}")
    (tmp_path / "references.schema.json").unlink()
    (tmp_path / "stranger.schema.json").write_text("{}")
    capsys.readouterr()
    assert main(["--check", "--folder", str(tmp_path)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" ")[0].rsplit("/", 1)[1] for line in lines] == [
        "references.schema.json",
        "scores.schema.json",
        "stranger.schema.json",
    ]


def watching_examples() -> dict[str, Questions | ModalityScores]:
    """A file of questions about clips, and one of how they were answered."""
    item = QuestionItem(
        id="a-0",
        clip="a",
        kind="sight",
        category="colour",
        text="Which colour?",
        answer="red",
        options=("red", "blue"),
    )
    accuracy = Accuracy(n=1, correct=1, accuracy=1.0, accuracy_normalised=1.0, chance=0.5)
    condition = ModalityCondition(
        bound=("audio", "video"), cider_d=0.7, questions=accuracy, by_kind={"sight": accuracy}
    )
    scores = ModalityScores(
        run_id="demo",
        dataset="av-scenes",
        split="test",
        clips=1,
        references_sha256="4" * 64,
        scoring="likelihood",
        conditions={"audio+video": condition},
    )
    questions = Questions(dataset="av-scenes", split="test", items=(item,))
    return {"questions.schema.json": questions, "modality-scores.schema.json": scores}


def study_examples() -> dict[str, StudyCard | StudyRunFile]:
    """A study of one finished run, and the file of that run."""
    run = StudyRun(
        status="done",
        name="additive-xe-0",
        experiment=("A2",),
        phase=1,
        stage="xe",
        system="additive",
        dataset="scenes",
        seed=0,
        identity="5" * 64,
        run_card_sha256="6" * 64,
        measures={"retention": Measure(status="missing", reason="not asked yet", identity="7" * 64)},
    )
    decision = Decision(rule="additive-stable", triggered=True, numbers={"runs": 1.0}, outcome="The ablations begin.")
    card = StudyCard(name="demo", tier="tiny", config_sha256="8" * 64, seeds=(0,), runs=(run,), decisions=(decision,))
    file = StudyRunFile(run=run, files={"run_card.json": "6" * 64})
    return {"study-card.schema.json": card, "study-run.schema.json": file}


@pytest.fixture
def examples(references, predictions, events, run_card) -> dict[str, dict]:
    """A file of each kind, as it lies on disk."""
    scores = score(predictions, references, ["bleu", "cider_d", "event_f1"], events)
    weights = TunedWeights(
        weights=RerankWeights(),
        dataset="demo",
        split="val",
        predictions_sha256=predictions.sha256(),
        references_sha256=references.sha256(),
        n=2,
        metric="cider_d",
        before=0.5,
        after=0.7,
        cross_validated=0.6,
        oracle=0.9,
        definition={"grid": 84},
    )
    comparison = compare([predictions], [predictions], references, resamples=100)
    outcome = Outcome(text="3", exact=True, contains=True, likelihood=True, answer_logprob=-0.5)
    answers = Answers(logits_sha256="0" * 64, outcomes={"a": outcome})
    question = Question(category="count", cluster="a.png", answer="3")
    retention = Retention(
        run_id="demo",
        system="additive",
        adapter_sha256="1" * 64,
        backbone=RetentionBackbone(name="tiny-vlm", weights_sha256="2" * 64, precision="fp32"),
        probe="visual-questions",
        probe_sha256="3" * 64,
        scoring="exact",
        margin=MARGIN,
        conditions={"none": compare_answers({"a": question}, answers, answers, "exact")},
        method=METHOD,
    )
    row = ManifestRow(id="a", path="audio/a.flac", split="test", status="ok", seconds=8.0)
    files = {
        **watching_examples(),
        **study_examples(),
        "answers.schema.json": answers,
        "comparison.schema.json": comparison,
        "predictions.schema.json": predictions,
        "references.schema.json": references,
        "rerank-weights.schema.json": weights,
        "retention.schema.json": retention,
        "run-card.schema.json": run_card,
        "scene-events.schema.json": events,
        "scores.schema.json": scores,
    }
    return {name: json.loads(file.canonical_bytes()) for name, file in files.items()} | {
        "manifest-row.schema.json": row.model_dump(mode="json")
    }


@pytest.mark.parametrize("name", FILES)
def test_examples_are_valid_and_broken_ones_are_not(name, examples, repository):
    schema = json.loads((repository / "schemas" / name).read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(examples[name])
    assert not validator.is_valid(examples[name] | {"unknown_field": 1})
    required = schema["required"][0]
    assert not validator.is_valid({key: value for key, value in examples[name].items() if key != required})
