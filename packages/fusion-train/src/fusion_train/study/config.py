"""A study as its YAML file states it: experiments, seeds, measures, rules, criteria, costs; checked before anything runs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from fusion_core.errors import ConfigError
from fusion_eval.schemas.base import first_problem
from fusion_eval.schemas.retention import Condition
from pydantic import Field, ValidationError, model_validator

from fusion_train.config import Settings

Stage = Literal["xe", "scst"]
MeasureName = Literal["retention", "rerank"]
Changes = dict[str, Any]
"""Settings by dotted key, as ``--set`` takes them, such as ``schedule.steps: 300``."""

ADDITIVE_STABLE = "additive-stable"
BEHIND = "additive-behind-cross-attention"
RETENTION = "retention-under-bound"
RERANKER = "reranker-drives-all-gains"


class Variant(Settings):
    """One way in which runs differ from their system's default."""

    label: str = Field("", description="Short, such as «sites 12»; empty for the default.")
    set: Changes = Field({}, description="Settings that it changes.")

    @model_validator(mode="after")
    def _a_change_has_a_name(self) -> Self:
        if bool(self.set) != bool(self.label):
            raise ValueError("a variant with changes needs a label, and the default has neither")
        return self


class Experiment(Settings):
    """Runs that answer one question of the study: systems × variants × seeds, in stages."""

    name: str = Field(min_length=1, description="Such as A2 or B1.")
    phase: int = Field(ge=0)
    kind: Literal["train", "sanity", "video"] = "train"
    also: tuple[str, ...] = Field((), description="Further experiments that use the same runs, such as C1 and D1.")
    systems: tuple[str, ...] = ("additive",)
    variants: tuple[Variant, ...] = (Variant(),)
    stages: tuple[Stage, ...] = ("xe",)
    measures: tuple[MeasureName, ...] = ()
    seeds: tuple[int, ...] | None = Field(None, description="Those of the study if not given.")
    dataset: str | None = Field(None, description="That of the study if not given.")
    profile: str | None = Field(None, description="That of the study if not given.")
    set: Changes = Field({}, description="Changes for all runs of the experiment.")
    leave_out: tuple[str, ...] = Field((), description="Files that are not kept, such as predictions/none.json.")
    after: Literal["additive-stable"] | None = Field(None, description="Begins when this rule says so.")
    frozen: tuple[str, ...] = Field(
        (), description="kind video: what of the first run is not trained on, such as audio."
    )

    @model_validator(mode="after")
    def _only_a_video_run_has_a_first_run(self) -> Self:
        if self.frozen and self.kind != "video":
            raise ValueError("frozen is for kind: video, whose runs start from another run")
        return self


class RetentionPlan(Settings):
    """What is asked after training (``fusion eval retention``)."""

    backbone: str | None = Field(None, description="Asked instead of the run's own, such as smollm2-vl.")
    probe: str | None = None
    items: int | None = Field(None, ge=1)
    conditions: tuple[Condition, ...] = ("none", "silence", "distractor", "earlier_distractor")
    scoring: Literal["exact", "contains", "likelihood", "likelihood_normalised"] = "likelihood"


class RerankPlan(Settings):
    """How the reranker's weights are chosen on val."""

    metric: Literal["cider_d", "spider"] = "cider_d"


class StableRule(Settings):
    """When cross-entropy training of the additive system counts as stable: ablations begin then."""

    keeps: float = Field(0.8, ge=0, le=1, description="Share of the best val CIDEr-D that is left at the end.")
    rollbacks: int = Field(0, ge=0, description="Contingencies of divergence that may have happened.")


class BehindRule(Settings):
    """Additive underperforms cross-attention: add another system."""

    margin: float = Field(0.0, ge=0, description="Additive is behind by more than this, in units of the metric.")
    system: str = "hybrid"
    stages: tuple[Stage, ...] = ("xe",)
    set: Changes = Field({}, description="Settings of its runs.")


class RetentionRule(Settings):
    """Retention of the additive system regresses: fewer sites and a stronger penalty, measured again."""

    verdicts: tuple[Literal["lost", "undecided"], ...] = ("lost",)
    label: str = "contingency 2"
    set: Changes = Field({}, description="Such as system.sites: [24] and optimiser.gate_penalty: 0.001.")
    stages: tuple[Stage, ...] = ("xe",)


class RerankerRule(Settings):
    """The reranker drives all gains: the diversity of the candidates (self-BLEU) is reported beside them."""

    margin: float = Field(0.0, ge=0)


class Rules(Settings):
    """The contingencies of the study; a rule that is null is not applied."""

    behind: BehindRule | None = BehindRule()
    retention: RetentionRule | None = None
    reranker: RerankerRule | None = RerankerRule()


class CostPlan(Settings):
    """What a run costs beforehand: measured seconds on the machine of the header, or FLOPs at an assumed rate."""

    kind: Literal["seconds", "flops"] = "seconds"
    step: dict[str, float] = Field({}, description="seconds: of an optimiser step by system; «default» for the others.")
    scst_step: float = Field(4.0, gt=0, description="Steps of cross-entropy that a self-critical one takes.")
    run: float = Field(30.0, ge=0, description="seconds: of a run beside its steps: loading, evaluations, captions.")
    measure: float = Field(10.0, ge=0, description="seconds: of one measure.")
    teraflops: float = Field(160.0, gt=0, description="flops: sustained on one GPU, in TFLOP/s.")


class SlurmPlan(Settings):
    """What is asked of Slurm; the command line's options go before."""

    partition: str | None = None
    account: str | None = None
    gpus: int = Field(0, ge=0, description="GPUs a job.")
    cpus: int = Field(1, ge=1, description="Cores a job.")
    minutes: int = Field(60, ge=1, description="Time limit of a job.")
    parallel: int = Field(16, ge=1, description="Jobs of the array that run at once.")


class Study(Settings):
    """The whole plan.

    The identity of a run does not depend on names, costs, rules or criteria, so those may be changed without losing results.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    tier: Literal["tiny", "embedded", "paper"]
    dataset: str = "scenes"
    profile: str = "default"
    seeds: tuple[int, ...] = Field((0, 1, 2), min_length=1)
    threads: int = Field(1, ge=1, description="Threads of a process: part of what a run's bits depend on.")
    similarity: bool = Field(False, description="Train the audio-text heads of the dataset first, for the reranker.")
    flops: bool = Field(True, description="Count a clip's FLOPs on the meta device and write them into the run cards.")
    set: Changes = Field({}, description="Changes for every run.")
    retention: RetentionPlan = RetentionPlan()
    rerank: RerankPlan = RerankPlan()
    stable: StableRule = StableRule()
    rules: Rules = Rules()
    criteria: dict[str, Any] = Field({}, description="Success criteria, for the report.")
    cost: CostPlan = CostPlan()
    slurm: SlurmPlan = SlurmPlan()
    experiments: tuple[Experiment, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _seeds_are_distinct(self) -> Self:
        for seeds in (self.seeds, *(one.seeds for one in self.experiments if one.seeds is not None)):
            if len(set(seeds)) < len(seeds):
                raise ValueError(f"seeds {list(seeds)} name one twice")
        return self

    def sha256(self) -> str:
        """Return a hash of the whole plan."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def load_study(path: Path) -> Study:
    """Read and check a study file.

    Raises:
        ConfigError: it is absent, no YAML, or a key or value is wrong; names the file and the field.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: there is no such study file; configs/studies/ holds those that come along."
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML ({str(error).splitlines()[0]}).") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: a study is a mapping of settings.")
    try:
        return Study.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{path}: {first_problem(error)}") from None
