"""The rules of a study: what they decide by, and which runs they add."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fusion_eval.retention import METHOD, compare_answers
from fusion_eval.schemas import Predictions, References
from fusion_eval.schemas.retention import (
    Answers,
    Outcome,
    Question,
    Retention,
    RetentionBackbone,
)
from fusion_eval.schemas.study import Measure
from fusion_eval.scoring import score
from fusion_train.study.config import Study
from fusion_train.study.decisions import apply_rules, decide_stability
from fusion_train.study.kept import KeptResults
from fusion_train.study.plan import PlannedRun, plan_study
from fusion_train.study.runner import standing
from fusion_train.study.workspace import Workspace

MakeStudy = Callable[..., Study]
Finish = Callable[..., Path]
HASH = "0" * 64


@pytest.mark.parametrize(
    ("vals", "rollbacks", "stable"),
    [((0.1, 0.3, 0.29), 0, True), ((0.1, 0.3, 0.1), 0, False), ((0.1, 0.3, 0.3), 1, False), ((0.0, 0.0), 0, True)],
)
def test_additive_is_stable_when_it_keeps_what_it_learned_and_never_diverged(
    study: MakeStudy, results: KeptResults, finish: Finish, vals: tuple[float, ...], rollbacks: int, stable: bool
) -> None:
    plan = plan_study(study())
    finish(plan.runs["additive-s0"])
    assert not decide_stability(plan, results).triggered  # the other seed has not ended
    finish(plan.runs["additive-s1"], vals=vals, rollbacks=rollbacks)
    decision = decide_stability(plan, results)
    assert decision.triggered == stable
    assert decision.numbers["rollbacks"] == rollbacks
    assert decision.numbers["least_share_of_best"] == pytest.approx(
        min(1.0, vals[-1] / max(vals)) if max(vals) else 1.0
    )


def _decide(study: Study, results: KeptResults, rule: str) -> tuple[object, ...]:
    found = [one for one in apply_rules(plan_study(study), results) if one.decision.rule == rule]
    return (found[0].decision.triggered, found[0].experiment, found[0].decision) if found else ()


def test_additive_behind_cross_attention_adds_the_hybrid(
    study: MakeStudy, results: KeptResults, finish: Finish
) -> None:
    small = study()
    plan = plan_study(small)
    for seed in (0, 1):
        finish(plan.runs[f"additive-s{seed}"], right=2 + seed)
    assert _decide(small, results, "additive-behind-cross-attention") == ()
    for seed in (0, 1):
        finish(plan.runs[f"cross-attention-s{seed}"], right=5 + seed)
    found = standing(small, Workspace(results.root / "work"), results)
    decision = next(one for one in found.decisions if one.rule == "additive-behind-cross-attention")
    assert decision.triggered
    assert decision.numbers["difference"] < 0
    assert decision.numbers["low"] <= decision.numbers["difference"] <= decision.numbers["high"]
    assert decision.runs == ("hybrid-s0", "hybrid-s1")
    assert {"hybrid-s0", "hybrid-s1"} <= set(found.plan.runs)


def test_additive_ahead_adds_nothing(study: MakeStudy, results: KeptResults, finish: Finish) -> None:
    plan = plan_study(study())
    for run in plan.runs.values():
        finish(run, right=5 if run.system == "additive" else 2)
    triggered, experiment, _ = _decide(study(), results, "additive-behind-cross-attention")
    assert not triggered
    assert experiment is None


def test_a_hybrid_that_is_there_is_not_added(study: MakeStudy, results: KeptResults, finish: Finish) -> None:
    systems = ["additive", "cross-attention", "hybrid"]
    small = study(experiments=[{"name": "A2", "phase": 1, "systems": systems}])
    for run in plan_study(small).runs.values():
        finish(run, right=5 if run.system != "additive" else 2)
    triggered, experiment, decision = _decide(small, results, "additive-behind-cross-attention")
    assert triggered
    assert experiment is None
    assert "in the study already" in decision.outcome  # type: ignore[attr-defined]


def _retention(run: PlannedRun, right_after: int) -> Retention:
    """Return a retention of 40 questions that were all answered right before."""

    def answers(right: int) -> Answers:
        outcome = {True: _outcome("yes", True), False: _outcome("no", False)}
        return Answers(logits_sha256=f"{right:064x}", outcomes={f"q{i}": outcome[i < right] for i in range(40)})

    questions = {f"q{i}": Question(category="any", cluster=f"q{i}", answer="yes") for i in range(40)}
    return Retention(
        run_id=run.name,
        system=run.system,
        adapter_sha256=HASH,
        backbone=RetentionBackbone(name="tiny", weights_sha256=HASH, precision="float32"),
        probe="any",
        probe_sha256=HASH,
        scoring="exact",
        margin=-0.005,
        conditions={"distractor": compare_answers(questions, answers(40), answers(right_after), "exact")},
        method=METHOD,
    )


def _outcome(text: str, right: bool) -> Outcome:
    return Outcome(text=text, exact=right, contains=right, answer_logprob=-1.0)


@pytest.mark.parametrize(("right_after", "triggered"), [(40, False), (25, True)])
def test_retention_that_was_lost_adds_fewer_sites(
    study: MakeStudy, results: KeptResults, finish: Finish, right_after: int, triggered: bool
) -> None:
    small = study(
        experiments=[{"name": "A2", "phase": 1, "measures": ["retention"]}],
        rules={"retention": {"label": "sites 6", "set": {"system.sites": [6]}}},
    )
    plan = plan_study(small)
    for run in plan.runs.values():
        folder = finish(run)
        _retention(run, right_after).write(folder / "retention.json")
        results.keep(run, folder, {"retention": Measure(status="done", identity=run.measures["retention"])})
    found = standing(small, Workspace(results.root / "work"), results)
    decision = next(one for one in found.decisions if one.rule == "retention-under-bound")
    assert decision.triggered == triggered
    assert decision.numbers["worst_delta"] == pytest.approx((right_after - 40) / 40)
    assert ("additive-sites-6-s0" in found.plan.runs) == triggered


@pytest.mark.parametrize(("raw", "reranked", "triggered"), [(2, 6, True), (5, 6, False), (2, 3, False)])
def test_a_reranker_that_drives_all_gains_is_told_by_the_rows(
    study: MakeStudy, results: KeptResults, finish: Finish, raw: int, reranked: int, triggered: bool
) -> None:
    systems = ["additive", "cross-attention"]
    small = study(experiments=[{"name": "A2", "phase": 1, "systems": systems, "measures": ["rerank"]}])
    plan = plan_study(small)
    for run in plan.runs.values():
        if run.system != "additive":
            finish(run, right=4)
            continue
        better = finish(run, right=reranked) / "predictions" / "audio.json"
        chosen = Predictions.read(better)
        folder = finish(run, right=raw)
        chosen.write(folder / "predictions" / "reranked.json")
        references = References.read(next((results.root / "references").iterdir()))
        score(chosen, references, metrics=("cider_d",)).write(folder / "scores" / "reranked.json")
        results.keep(run, folder, {"rerank": Measure(status="done", identity=run.measures["rerank"])})
    found, _, decision = _decide(small, results, "reranker-drives-all-gains")
    assert found == triggered
    assert 0 < decision.numbers["self_bleu"] <= 1  # type: ignore[attr-defined]
