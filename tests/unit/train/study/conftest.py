"""A study of a few runs, and run directories as training leaves them, made of scores and captions alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from fusion_eval.schemas import Candidate, PredictionItem, Predictions, ReferenceItem, References
from fusion_eval.schemas.run_card import (
    BackboneCard,
    CostCard,
    DatasetCard,
    DecodingCard,
    HardwareCard,
    ParameterTable,
    ResultCard,
    RuleCard,
    RunCard,
    SystemCard,
    TrainingCard,
)
from fusion_eval.scoring import score
from fusion_train.study.config import Study
from fusion_train.study.kept import KeptResults
from fusion_train.study.plan import PlannedRun

WORDS = (
    "a dog barks",
    "rain falls on a roof",
    "a bell rings twice",
    "wind blows hard",
    "a siren wails far away",
    "water drips",
)
REFERENCES = References(
    dataset="scenes",
    split="test",
    items=tuple(ReferenceItem(id=f"c{i}", references=(text, f"{text} loudly")) for i, text in enumerate(WORDS)),
)


@pytest.fixture
def study() -> Callable[..., Study]:
    """Make a study of the tiny profile; arguments replace its parts."""

    def make(**parts: Any) -> Study:
        plan: dict[str, Any] = {
            "name": "small",
            "tier": "tiny",
            "profile": "tiny",
            "seeds": [0, 1],
            "experiments": [
                {"name": "A2", "phase": 1, "systems": ["additive", "cross-attention"], "stages": ["xe", "scst"]},
                {
                    "name": "B1",
                    "phase": 2,
                    "after": "additive-stable",
                    "variants": [{}, {"label": "sites 3", "set": {"system.sites": [3]}}],
                },
            ],
        }
        return Study.model_validate(plan | parts)

    return make


@pytest.fixture
def results(tmp_path: Path) -> KeptResults:
    """Where results are kept, the references of the test split among them."""
    kept = KeptResults(tmp_path / "results")
    kept.keep_references("references", REFERENCES.sha256(), REFERENCES.canonical_bytes())
    return kept


@pytest.fixture
def finish(tmp_path: Path, results: KeptResults) -> Callable[..., Path]:
    """Keep a run as if it had been trained: the first ``right`` captions are those of the references."""

    def make(run: PlannedRun, right: int = 3, vals: Sequence[float] = (0.1, 0.2, 0.3), rollbacks: int = 0) -> Path:
        folder = tmp_path / "made" / run.name
        (folder / "predictions").mkdir(parents=True, exist_ok=True)
        predictions = _predictions(run, right)
        scores = score(predictions, REFERENCES, metrics=("cider_d",))
        predictions.write(folder / "predictions" / "audio.json")
        scores.write(folder / "scores" / "audio.json")
        result = ResultCard(
            split="test", condition="audio", predictions_sha256=predictions.sha256(), scores_sha256=scores.sha256()
        )
        _card(run, result).write(folder / "run_card.json")
        events = [{"event": "evaluated", "cider_d": value} for value in vals]
        events += [{"event": "contingency"}] * rollbacks
        (folder / "log.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
        results.keep(run, folder, {})
        return folder

    return make


def _predictions(run: PlannedRun, right: int) -> Predictions:
    texts = [WORDS[i] if i < right else f"{run.system} {run.seed} says nothing" for i in range(len(WORDS))]
    items = tuple(
        PredictionItem(
            id=f"c{i}",
            caption=text,
            candidates=(Candidate(text=text, logprob=-1.0), Candidate(text=f"{text} again", logprob=-2.0)),
        )
        for i, text in enumerate(texts)
    )
    return Predictions(
        dataset="scenes", split="test", system=run.system, references_sha256=REFERENCES.sha256(), items=items
    )


def _card(run: PlannedRun, result: ResultCard) -> RunCard:
    some = hashlib.sha256(run.identity.encode()).hexdigest()
    return RunCard(
        run_id=run.name,
        created="2026-01-01T00:00:00Z",  # type: ignore[arg-type]
        command=("fusion",),
        seed=run.seed,
        dataset=DatasetCard(name="scenes", references_sha256={}, counts_by_status={"ok": 6}),
        backbone=BackboneCard(name="tiny", weights_sha256=some, prompt=""),
        system=SystemCard(name=run.system, config={}),
        training=TrainingCard(
            loss_weights={"xe": 1.0},
            optimiser=RuleCard(name="AdamW"),
            schedule=RuleCard(name="cosine"),
            batch_size=4,
            accumulation=1,
            precision="float32",
        ),
        decoding=DecodingCard(beams=2, max_new_tokens=8, length_penalty=1.0),
        parameters=ParameterTable(parts={"gates": 2}, total=2),
        cost=CostCard(),
        hardware=HardwareCard(device="cpu"),
        packages={},
        adapter_sha256=some,
        results=(result,),
    )
