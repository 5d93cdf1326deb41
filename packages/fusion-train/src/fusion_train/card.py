"""The run card of a training: what was run, on what, from what, and what came of it."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from fusion_core.backbone import Backbone
from fusion_core.files import sha256_file
from fusion_core.match import trainable_parameters
from fusion_core.systems.base import WEIGHTS_FILE, FusionSystem
from fusion_core.systems.joint import Joint
from fusion_encoders.base import FrozenEncoder
from fusion_eval.schemas import RunCard, Scores, counts_by_status
from fusion_eval.schemas.run_card import (
    BackboneCard,
    CostCard,
    DatasetCard,
    DecodingCard,
    EncoderCard,
    HardwareCard,
    ModalityCard,
    ParameterTable,
    ResultCard,
    RuleCard,
    SystemCard,
    Throughput,
    TrainingCard,
)
from torch import nn

from fusion_train.config import RunSettings
from fusion_train.datasets.base import PreparedDataset
from fusion_train.loop import Progress
from fusion_train.model import reference_config
from fusion_train.optim import trained_parts

PACKAGES = (
    "torch",
    "torchaudio",
    "transformers",
    "accelerate",
    "peft",
    "numpy",
    "scipy",
    "polars",
    "soundfile",
    "fusion-train",
)

CARD_FILE = "run_card.json"


@dataclass(frozen=True)
class RunFacts:
    """What a run card is written from."""

    run_id: str
    command: tuple[str, ...]
    settings: RunSettings
    dataset: PreparedDataset
    encoder: FrozenEncoder
    backbone: Backbone
    system: FusionSystem
    modules: Mapping[str, nn.Module]
    objectives: tuple[str, ...]
    progress: Progress
    selection: str
    adapter: Path
    scores: dict[str, Scores]
    encoders: Mapping[str, FrozenEncoder] = field(default_factory=dict)
    init_sha256: str | None = None


def write_run_card(path: Path, facts: RunFacts) -> RunCard:
    """Write ``run_card.json`` atomically and return it."""
    card = RunCard(
        run_id=facts.run_id,
        created=datetime.now(UTC),
        command=facts.command,
        seed=facts.settings.seed,
        dataset=_dataset(facts.dataset),
        encoder=_encoder(facts),
        backbone=_backbone(facts),
        system=_system(facts.system, facts.progress),
        modalities=_modalities(facts),
        init_sha256=facts.init_sha256,
        training=_training(facts),
        decoding=DecodingCard(
            beams=facts.settings.decoding.beams,
            max_new_tokens=facts.settings.decoding.max_new_tokens,
            length_penalty=facts.settings.decoding.length_penalty,
            candidates=facts.settings.decoding.beams,
        ),
        parameters=_parameters(facts),
        cost=_cost(facts.settings, facts.progress),
        hardware=_hardware(facts.backbone),
        packages=_packages(),
        git_commit=_git("rev-parse", "HEAD"),
        git_dirty=_dirty(),
        adapter_sha256=sha256_file(facts.adapter / WEIGHTS_FILE),
        results=tuple(
            ResultCard(
                split=scores.split,
                condition=condition,
                predictions_sha256=scores.predictions_sha256,
                scores_sha256=scores.sha256(),
            )
            for condition, scores in facts.scores.items()
        ),
    )
    card.write(path)
    return card


def _dataset(dataset: PreparedDataset) -> DatasetCard:
    splits = [split for split in dataset.splits if dataset.has_references(split)]
    return DatasetCard(
        name=dataset.name,
        root_sha256=dataset.card.sha256(),
        recipe_sha256=dataset.card.recipe_sha256,
        references_sha256={split: dataset.references(split).sha256() for split in splits},
        counts_by_status=counts_by_status(dataset.manifest),
    )


def _backbone(facts: RunFacts) -> BackboneCard:
    backbone, system = facts.backbone, facts.system
    several = isinstance(system, Joint)
    prompt = system.prompt(backbone, facts.settings.mixture.instruction) if several else system.prompt(backbone)
    return BackboneCard(
        name=backbone.identity.name,
        weights_sha256=backbone.identity.weights_sha256,
        prompt=prompt.text,
        prompt_ids_sha256=hashlib.sha256(repr(prompt.ids).encode()).hexdigest(),
    )


def _encoder(facts: RunFacts) -> EncoderCard | None:
    if facts.system.projector is None:
        return None
    return _encoder_card(facts.encoder)


def _encoder_card(encoder: FrozenEncoder) -> EncoderCard:
    return EncoderCard(
        name=encoder.name,
        weights_sha256=encoder.weights_sha256,
        preprocessing_sha256=encoder.preprocessing_sha256,
    )


def _modalities(facts: RunFacts) -> dict[str, ModalityCard] | None:
    """Return what each modality is read by and how strongly it ended up adding; None where audio is alone."""
    if not isinstance(facts.system, Joint):
        return None
    return {
        name: ModalityCard(
            encoder=_encoder_card(facts.encoders[name]),
            system=member.name,
            parameters=sum(parameter.numel() for parameter in member.parameters()),
            trained=any(parameter.requires_grad for parameter in member.parameters()),
            final_gates={int(site): gate for site, gate in member.gate_values().items()} or None,
            residual_rms=member.residual_rms() or None,
        )
        for name, member in facts.system.by_modality().items()
    }


def _parameters(facts: RunFacts) -> ParameterTable:
    """Count everything that trains, heads of objectives too."""
    parts = trained_parts(facts.modules)
    table = {part: sum(parameter.numel() for parameter in parameters) for part, parameters in parts.items()}
    total = sum(table.values())
    several = isinstance(facts.system, Joint)  # of other encoders too, so there is no one size to compare with
    reference = None if several else reference_config(facts.settings, facts.backbone, facts.encoder.width)
    ratio = None
    if reference is not None:
        ratio = total / sum(trainable_parameters("additive", reference).values())
    return ParameterTable(parts=table, total=total, ratio_to_reference=ratio)


def _system(system: FusionSystem, progress: Progress) -> SystemCard:
    settings = system.settings()
    return SystemCard(
        name=system.name,
        config=settings,
        sites=settings.get("sites"),
        tokens=settings.get("tokens"),
        projector_width=settings.get("projector_width"),
        gate_init=settings.get("gate_init"),
        final_gates={site: gate for site, gate in system.gate_values().items() if isinstance(site, int)} or None,
        addition_ratio={int(block): ratio for block, ratio in progress.addition_ratio.items()} or None,
        residual_rms=system.residual_rms() or None,
    )


def _training(facts: RunFacts) -> TrainingCard:
    settings, scst = facts.settings, facts.objectives[0] == "scst"
    weights = {facts.objectives[0]: 1.0, "gate_penalty": settings.optimiser.gate_penalty}
    if "contrastive" in facts.objectives:
        weights["contrastive"] = settings.contrastive.weight
    if settings.optimiser.residual_alignment and not scst:
        weights["residual_alignment"] = settings.optimiser.residual_alignment
    schedule = settings.scst if scst else settings.schedule
    chosen: dict[str, Any] = {**schedule.model_dump(mode="json", include={"steps", "warmup", "rate"})}
    if not scst:
        chosen["alignment"] = settings.alignment.model_dump(mode="json")
    return TrainingCard(
        loss_weights=weights,
        optimiser=RuleCard(name="AdamW", settings=settings.optimiser.model_dump(mode="json")),
        schedule=RuleCard(
            name="linear warm-up, cosine to 0" if scst else "aligned start, linear warm-up, cosine to 0",
            settings=chosen,
        ),
        batch_size=settings.batch,
        accumulation=settings.accumulate,
        precision=str(facts.backbone.dtype).removeprefix("torch."),
        steps=facts.progress.step,
        best_step=facts.progress.best_step,
        selection_metric=facts.selection,
        scst=settings.scst.model_dump(mode="json") if scst else None,
    )


def _cost(settings: RunSettings, progress: Progress) -> CostCard:
    clips = progress.step * settings.batch * settings.accumulate
    rate = clips / progress.seconds if progress.seconds > 0 and clips else None
    throughput = (Throughput(stage="train", clips_per_second=rate, batch_size=settings.batch),) if rate else ()
    return CostCard(hours=progress.seconds / 3600, throughput=throughput)


def _hardware(backbone: Backbone) -> HardwareCard:
    on_gpu = backbone.device.type == "cuda"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return HardwareCard(
        device=backbone.device.type,
        accelerator=torch.cuda.get_device_name(backbone.device) if on_gpu else None,
        processor=platform.processor() or platform.machine(),
        cores=os.cpu_count(),
        memory_gib=round(memory, 1),
        operating_system=platform.platform(),
    )


def _packages() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def _git(*arguments: str) -> str | None:
    """Return what git says of the folder this code lies in, or None outside a repository."""
    try:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _dirty() -> bool | None:
    status = _git("status", "--porcelain", "--untracked-files=no")
    return None if status is None else bool(status)
