"""What a study will cost: from measured seconds a step, or from FLOPs counted on the meta device at a stated rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fusion_train.study.config import CostPlan
from fusion_train.study.plan import Plan, PlannedRun

TEST_PASSES = 2
"""The test split is captioned with its own audio and with another clip's; the other controls decode once or not at all."""
SANITY_STEPS, SANITY_CLIPS = 30, 16
"""Of the small training of phase 0 (``fusion_train.sanity``)."""


@dataclass(frozen=True)
class Cost:
    """What a run is estimated to cost.

    Attributes:
        hours: of one machine, or of one GPU.
        flops: floating-point operations; None where seconds were measured.
    """

    hours: float
    flops: float | None = None


def estimate(plan: Plan, counted: Callable[[str], None] = lambda name: None) -> dict[str, Cost]:
    """Return the estimated cost of every run by name.

    Args:
        plan: the runs.
        counted: called with a run's name when its FLOPs are being counted.

    Raises:
        ConfigError: a setting of a run is wrong.
    """
    rule = plan.study.cost
    if rule.kind == "seconds":
        return {run.name: Cost(_seconds(run, rule) / 3600) for run in plan.runs.values()}
    counter = _FlopCounter(counted)
    flops = {run.name: counter.of_run(run) for run in plan.runs.values()}
    return {name: Cost(count / (rule.teraflops * 1e12) / 3600, count) for name, count in flops.items()}


def _seconds(run: PlannedRun, rule: CostPlan) -> float:
    step = rule.step.get(run.system, rule.step.get("default", 1.0))
    steps = float(SANITY_STEPS if run.stage == "sanity" else run.settings.schedule.steps)
    if run.stage == "scst":
        steps = run.settings.scst.steps * rule.scst_step
    return steps * step + rule.run + rule.measure * len(run.measures)


class _FlopCounter:
    """Counts a run's FLOPs; systems that are alike are counted once."""

    def __init__(self, counted: Callable[[str], None]) -> None:
        self._counted = counted
        self._known: dict[str, tuple[int, int, int]] = {}

    def of_run(self, run: PlannedRun) -> float:
        """Return training and decoding of a run; the encoder is left out, as its features are computed once."""
        settings = run.settings
        counted, token_beams, token_greedy = self._of_clip(run)
        step = float(counted)
        val, test = self._sizes(run)
        size = settings.batch * settings.accumulate
        steps = settings.schedule.steps
        if run.stage == "sanity":
            return float(SANITY_STEPS * SANITY_CLIPS * step)
        if run.stage == "scst":
            steps = settings.scst.steps
            # A clip's captions are sampled with one prefill, as beams are, and each is read again with gradients.
            step = settings.scst.samples * step + token_beams * settings.scst.samples / settings.decoding.beams
        evaluations = -(-steps // settings.evaluation.every)
        decoded = evaluations * min(val, settings.evaluation.clips) * token_greedy
        decoded += (TEST_PASSES * test + val) * token_beams
        return float(steps * size * step + decoded)

    def _of_clip(self, run: PlannedRun) -> tuple[float, float, float]:
        settings = run.settings
        include = {"backbone", "encoder", "reference", "system", "decoding", "frozen_prefix"}
        key = f"{run.system} {settings.model_dump_json(include=include)}"
        if key not in self._known:
            self._counted(run.name)
            self._known[key] = _count(run)
        return self._known[key]

    def _sizes(self, run: PlannedRun) -> tuple[int, int]:
        """Return the clips of val and test, as the settings or the published corpus have them."""
        published = {"audiocaps": (495, 975), "clotho": (1_045, 1_045)}
        val, test = published.get(run.dataset, (100, 200))
        options = run.settings.dataset
        return int(options.get("val") or val), int(options.get("test") or test)


def _count(run: PlannedRun) -> tuple[int, int, int]:
    """Return the FLOPs of a training step, a caption by beams and a greedy caption, of one clip.

    A greedy caption is taken as a beam's share, though it reads the prompt's last token for itself alone: a little too low.
    """
    from fusion_encoders.registry import ENCODERS

    from fusion_train.run_flops import run_flops

    width = int(ENCODERS.load(run.settings.encoder).width)
    flops = run_flops(run.system, run.settings, width)
    step = flops["cached_step" if run.settings.frozen_prefix else "step"]
    return step, flops["generate"], flops["generate"] // run.settings.decoding.beams
