"""The run card: everything that is needed to run a training again, and what came of it. Unknown values are absent."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, JsonValue, model_validator

from fusion_eval.schemas.base import Record, Schema, Sha256

Settings = dict[str, JsonValue]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(gt=0)]


class DatasetCard(Record):
    """What was trained on."""

    name: str = Field(min_length=1)
    root_sha256: Sha256 | None = Field(default=None, description="Hash of the prepared folder's dataset.json.")
    recipe_sha256: Sha256 | None = Field(
        default=None,
        description="Hash of the options and version by which the clips were made; absent where they come from files.",
    )
    references_sha256: dict[str, Sha256] = Field(description="Hash of the references by split.")
    counts_by_status: dict[str, Count] = Field(description="Clips of the manifest by status.")


class EncoderCard(Record):
    """The frozen encoder."""

    name: str = Field(min_length=1)
    weights_sha256: Sha256
    preprocessing_sha256: Sha256


class BackboneCard(Record):
    """The frozen language model and its prompt."""

    name: str = Field(min_length=1)
    weights_sha256: Sha256
    prompt: str = Field(description="The text of the bare chat prompt.")
    prompt_ids_sha256: Sha256 | None = None


class SystemCard(Record):
    """The fused system: where and how it adds, and how strongly it ended up adding."""

    name: str = Field(min_length=1)
    config: Settings = Field(description="The whole configuration, enough to build the system again.")
    sites: tuple[Count, ...] | None = Field(default=None, description="Decoder blocks whose input is added to.")
    tokens: Positive | None = Field(default=None, description="Audio tokens K.")
    projector_width: Positive | None = Field(default=None, description="Projector width P.")
    gate_init: float | None = Field(default=None, description="α of every site before training.")
    final_gates: dict[int, float] | None = Field(default=None, description="α or tanh(g) by site after training.")
    addition_ratio: dict[int, float] | None = Field(
        default=None, description="‖addition‖/‖stream‖ by site after training, the median over the positions added to."
    )
    residual_rms: dict[int, float] | None = Field(default=None, description="ρ by site: median RMS of the stream.")


class ModalityCard(Record):
    """One of several modalities that are bound together."""

    encoder: EncoderCard
    system: str = Field(min_length=1)
    parameters: Count = Field(description="Of its projector, adapters and gates, whether they trained or not.")
    trained: bool = Field(description="Whether any of them trained.")
    final_gates: dict[int, float] | None = Field(default=None, description="α by site after training.")
    residual_rms: dict[int, float] | None = Field(default=None, description="ρ by site.")


class RuleCard(Record):
    """A named rule with its settings: an optimiser or a schedule."""

    name: str = Field(min_length=1)
    settings: Settings = Field(default={})


class TrainingCard(Record):
    """How it was trained."""

    loss_weights: dict[str, float]
    optimiser: RuleCard
    schedule: RuleCard
    batch_size: Positive = Field(description="Clips of one forward pass.")
    accumulation: Positive = Field(description="Forward passes of one optimiser step.")
    precision: str = Field(min_length=1, description="Type of the computation, such as bf16.")
    steps: Count | None = Field(default=None, description="Optimiser steps done.")
    best_step: Count | None = Field(default=None, description="The step whose weights were kept.")
    selection_metric: str | None = Field(default=None, description="The metric of val that early stopping judged by.")
    scst: Settings | None = Field(default=None, description="Settings of self-critical training; absent without it.")


class DecodingCard(Record):
    """How captions were decoded."""

    beams: Positive
    max_new_tokens: Positive
    length_penalty: float
    candidates: Positive | None = Field(default=None, description="Candidates kept a clip.")


class ParameterTable(Record):
    """Trainable parameters by part; everything counts, gates and positions too."""

    parts: dict[str, Count]
    total: int = Field(ge=0)
    ratio_to_reference: float | None = Field(
        default=None, gt=0, description="Total over that of the additive system to which sizes are matched."
    )

    @model_validator(mode="after")
    def _total_is_the_sum(self) -> Self:
        if self.total != sum(self.parts.values()):
            raise ValueError(f"total {self.total} is not the sum of the parts, {sum(self.parts.values())}")
        return self


class Throughput(Record):
    """How fast one stage ran; the device is that of the hardware card."""

    stage: str = Field(min_length=1, description="Such as encode, train or caption.")
    clips_per_second: float = Field(gt=0)
    batch_size: Positive


class CostCard(Record):
    """What it cost."""

    hours: float | None = Field(default=None, ge=0, description="Wall-clock time of training in h.")
    throughput: tuple[Throughput, ...] = ()
    flops: dict[str, float] | None = Field(default=None, description="FLOPs by stage, 2 a multiply-add.")


class HardwareCard(Record):
    """What it ran on."""

    device: str = Field(min_length=1, description="Such as cpu or cuda.")
    accelerator: str | None = None
    processor: str | None = None
    cores: Positive | None = None
    memory_gib: float | None = Field(default=None, gt=0)
    operating_system: str | None = None


class ResultCard(Record):
    """The files that one decoding of one split gave; the condition says what the system heard."""

    split: str = Field(min_length=1)
    condition: str = Field(min_length=1, description="Such as audio, shuffled or none.")
    predictions_sha256: Sha256
    scores_sha256: Sha256 | None = None


class RunCard(Schema):
    """One run, kept as ``run_card.json`` beside its checkpoint."""

    schema_: Literal["fusion.run-card/1"] = Field(default="fusion.run-card/1", alias="schema")
    run_id: str = Field(min_length=1)
    created: AwareDatetime
    command: tuple[str, ...] = Field(description="The command line, argument by argument.")
    seed: int
    dataset: DatasetCard
    encoder: EncoderCard | None = Field(default=None, description="Absent for a system that hears nothing.")
    backbone: BackboneCard
    system: SystemCard
    modalities: dict[str, ModalityCard] | None = Field(default=None, description="Absent where audio is alone.")
    init_sha256: Sha256 | None = Field(default=None, description="Hash of the adapter that training began with.")
    training: TrainingCard
    decoding: DecodingCard
    parameters: ParameterTable
    cost: CostCard
    hardware: HardwareCard
    packages: dict[str, str] = Field(description="Versions of the installed packages that matter, python among them.")
    git_commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")] | None = None
    git_dirty: bool | None = Field(default=None, description="Whether the work tree had changes.")
    adapter_sha256: Sha256 | None = Field(default=None, description="Hash of the trained weights' file.")
    results: tuple[ResultCard, ...] = ()
