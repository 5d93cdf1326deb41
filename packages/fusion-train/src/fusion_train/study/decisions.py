"""The rules of a study, applied to its results: when ablations begin, which runs a contingency adds, and by which numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from fusion_eval.comparing import compare
from fusion_eval.errors import FusionError
from fusion_eval.metrics.diversity import self_bleu
from fusion_eval.schemas import Predictions, References, Scores
from fusion_eval.schemas.retention import Retention
from fusion_eval.schemas.study import Decision

from fusion_train.study.config import (
    ADDITIVE_STABLE,
    BEHIND,
    RERANKER,
    RETENTION,
    BehindRule,
    Experiment,
    RerankerRule,
    RetentionRule,
    Variant,
)
from fusion_train.study.kept import KeptResults
from fusion_train.study.plan import Plan, PlannedRun

CONTINGENCY = "contingency"
ADDITIVE, CROSS_ATTENTION = "additive", "cross-attention"
METRIC = "cider_d"
_RESAMPLES = 2000


@dataclass(frozen=True)
class Ruling:
    """A decision, and the experiment that it adds."""

    decision: Decision
    experiment: Experiment | None = None


def gate_runs(plan: Plan) -> list[PlannedRun]:
    """Return the runs whose end the ablations wait for: the additive system's default, by cross-entropy."""
    return _default_runs(plan, ADDITIVE, "xe")


def decide_stability(plan: Plan, kept: KeptResults) -> Decision:
    """Say whether additive cross-entropy is stable: every seed ended, kept what it had learned, and never diverged."""
    rule, runs = plan.study.stable, gate_runs(plan)
    done = [run for run in runs if kept.find(run) is not None]
    shares, rollbacks = [], 0
    for run in done:
        events = _events(kept.folder(run.name))
        scores = [event["cider_d"] for event in events if event["event"] == "evaluated"]
        best = max(scores, default=0.0)
        shares.append(scores[-1] / best if best > 0 else 1.0)
        rollbacks += sum(event["event"] == "contingency" for event in events)
    stable = bool(done) and len(done) == len(runs) and min(shares) >= rule.keeps and rollbacks <= rule.rollbacks
    numbers = {
        "runs": len(runs),
        "ended": len(done),
        "rollbacks": rollbacks,
        "least_share_of_best": min(shares, default=0.0),
    }
    outcome = (
        "Additive cross-entropy is stable; the ablations begin."
        if stable
        else f"Additive cross-entropy is not stable: {len(done)} of {len(runs)} runs ended, at least "
        f"{min(shares, default=0.0):.2f} of the best val CIDEr-D is left (bound {rule.keeps:g}), {rollbacks} rollbacks."
    )
    names = tuple(run.name for run in runs)
    return Decision(rule=ADDITIVE_STABLE, triggered=stable, numbers=numbers, outcome=outcome, runs=names)


def apply_rules(plan: Plan, kept: KeptResults) -> list[Ruling]:
    """Apply every rule whose results are there; a rule without them decides nothing."""
    rules = plan.study.rules
    rulings: list[Ruling | None] = []
    if any(run.after == ADDITIVE_STABLE for run in plan.runs.values()) and _all_kept(gate_runs(plan), kept):
        rulings.append(Ruling(decide_stability(plan, kept)))
    if rules.behind is not None:
        rulings.append(_behind(plan, kept, rules.behind))
    if rules.retention is not None:
        rulings.append(_retention(plan, kept, rules.retention))
    if rules.reranker is not None:
        rulings.append(_reranker(plan, kept, rules.reranker))
    return [ruling for ruling in rulings if ruling is not None]


def _behind(plan: Plan, kept: KeptResults, rule: BehindRule) -> Ruling | None:
    """Compare additive with cross-attention over all seeds, clip by clip."""
    sides = [_default_runs(plan, system, "xe") for system in (ADDITIVE, CROSS_ATTENTION)]
    if not all(side and _all_kept(side, kept) for side in sides):
        return None
    files = [[_predictions(kept, run, "audio") for run in side] for side in sides]
    references = _references(kept, files[0][0])
    if references is None:
        return None
    try:
        found = compare(files[0], files[1], references, (METRIC,), resamples=_RESAMPLES, allow_missing=True)
    except FusionError:  # two seeds that say the very same have no spread
        return _behind_without_spread(plan, kept, rule, sides)
    difference = found.metrics[METRIC].difference
    numbers = {"difference": difference.value}
    if difference.spread is not None:
        numbers |= {"low": difference.spread.percentile.low, "high": difference.spread.percentile.high}
    return _rule_behind(plan, rule, sides, numbers)


def _behind_without_spread(
    plan: Plan, kept: KeptResults, rule: BehindRule, sides: Sequence[Sequence[PlannedRun]]
) -> Ruling:
    means = [fmean(_score(kept, run, "audio") for run in side) for side in sides]
    return _rule_behind(plan, rule, sides, {"difference": means[0] - means[1]})


def _rule_behind(
    plan: Plan, rule: BehindRule, sides: Sequence[Sequence[PlannedRun]], numbers: dict[str, float]
) -> Ruling:
    behind = -numbers["difference"] > rule.margin
    experiment = Experiment(
        name=CONTINGENCY,
        phase=2,
        systems=(rule.system,),
        stages=rule.stages,
        set=rule.set,
        measures=("rerank",),
    )
    own = [
        run.name for run in plan.runs.values() if run.system == rule.system and run.stage == "xe" and not run.variant
    ]
    outcome = (
        f"Additive is {'behind' if behind else 'not behind'} cross-attention ({METRIC} {numbers['difference']:+.3f})"
    )
    if behind:
        outcome += f"; {rule.system} is in the study already" if own else f"; {rule.system} is added"
    runs = tuple(run.name for side in sides for run in side)
    decision = Decision(rule=BEHIND, triggered=behind, numbers=numbers, outcome=f"{outcome}.", runs=runs)
    return Ruling(decision, experiment if behind and not own else None)


def _retention(plan: Plan, kept: KeptResults, rule: RetentionRule) -> Ruling | None:
    """Look for a condition under which the additive system lost more than the margin."""
    found: list[tuple[str, str, float, float, str]] = []
    for run in (one for stage in ("xe", "scst") for one in _default_runs(plan, ADDITIVE, stage)):
        entry = kept.find(run)
        if entry is None or not entry.has_measure("retention", run.measures.get("retention", "")):
            continue
        retention = Retention.read(kept.folder(run.name) / "retention.json")
        for condition, one in retention.conditions.items():
            change = one.scorings[retention.scoring]
            if condition != "blind":
                found.append((run.name, condition, change.delta, change.bound, one.verdict))
    if not found:
        return None
    under = [one for one in found if one[4] in rule.verdicts]
    worst = min(found, key=lambda one: one[3])
    numbers = {"measured": len(found), "under": len(under), "worst_delta": worst[2], "worst_bound": worst[3]}
    experiment = Experiment(
        name=CONTINGENCY,
        phase=3,
        systems=(ADDITIVE,),
        variants=(Variant(label=rule.label, set=rule.set),),
        stages=rule.stages,
        measures=("retention",),
    )
    outcome = (
        f"{len(under)} of {len(found)} measurements are {' or '.join(rule.verdicts)}; worst {worst[0]} under {worst[1]}: "
        f"Δ {100 * worst[2]:+.2f} points, bound {100 * worst[3]:+.2f}"
    )
    outcome += f"; «{rule.label}» is added." if under else "."
    names = tuple(dict.fromkeys(one[0] for one in (under or found)))
    decision = Decision(rule=RETENTION, triggered=bool(under), numbers=numbers, outcome=outcome, runs=names)
    return Ruling(decision, experiment if under else None)


def _reranker(plan: Plan, kept: KeptResults, rule: RerankerRule) -> Ruling | None:
    """Ask whether additive leads the best other system only by its reranker."""
    additive = [run for run in _default_runs(plan, ADDITIVE, "xe") if "rerank" in run.measures]
    others = {
        system: [run for run in _default_runs(plan, system, "xe") if "A2" in run.experiments]
        for system in {run.system for run in plan.runs.values()} - {ADDITIVE}
    }
    others = {system: runs for system, runs in others.items() if runs and _all_kept(runs, kept)}
    entries = [kept.find(run) for run in additive]
    measured = [
        e is not None and e.has_measure("rerank", r.measures["rerank"]) for e, r in zip(entries, additive, strict=True)
    ]
    if not additive or not others or not all(measured):
        return None
    raw = fmean(_score(kept, run, "audio") for run in additive)
    reranked = fmean(_score(kept, run, "reranked") for run in additive)
    best = max(fmean(_score(kept, run, "audio") for run in runs) for runs in others.values())
    alike = fmean(_self_bleu(_predictions(kept, run, "audio")) for run in additive)
    triggered = reranked - best > rule.margin and raw - best <= rule.margin
    numbers = {"additive": raw, "additive_reranked": reranked, "best_other": best, "self_bleu": alike}
    words = "drives all gains" if triggered else "does not drive all gains"
    outcome = (
        f"The reranker {words}: additive {raw:.3f}, reranked {reranked:.3f}, the best other system {best:.3f} ({METRIC}); "
        f"self-BLEU of the candidates {alike:.3f}{' is a row of the table' if triggered else ''}."
    )
    names = tuple(run.name for run in additive)
    return Ruling(Decision(rule=RERANKER, triggered=triggered, numbers=numbers, outcome=outcome, runs=names))


def _default_runs(plan: Plan, system: str, stage: str) -> list[PlannedRun]:
    """Return the runs of a system's default, one a seed, that the main table shows."""
    runs = [run for run in plan.runs.values() if run.system == system and run.stage == stage and not run.variant]
    own = [run for run in runs if run.dataset == plan.study.dataset]
    main = [run for run in own if "A2" in run.experiments]
    return main or own


def _all_kept(runs: Sequence[PlannedRun], kept: KeptResults) -> bool:
    return bool(runs) and all(kept.find(run) is not None for run in runs)


def _events(folder: Path) -> list[dict[str, Any]]:
    path = folder / "log.jsonl"
    return (
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line] if path.is_file() else []
    )


def _predictions(kept: KeptResults, run: PlannedRun, condition: str) -> Predictions:
    return Predictions.read(kept.folder(run.name) / "predictions" / f"{condition}.json")


def _score(kept: KeptResults, run: PlannedRun, condition: str) -> float:
    return Scores.read(kept.folder(run.name) / "scores" / f"{condition}.json").metrics[METRIC]


def _references(kept: KeptResults, predictions: Predictions) -> References | None:
    path = kept.root / "references" / f"{predictions.references_sha256}.json"
    return References.read(path) if path.is_file() else None


def _self_bleu(predictions: Predictions) -> float:
    """Return the mean self-BLEU of the clips' candidates; 0 where no clip has two."""
    values = self_bleu([[one.text for one in item.candidates or ()] for item in predictions.items])
    known = [value for value in values if value is not None]
    return fmean(known) if known else 0.0
