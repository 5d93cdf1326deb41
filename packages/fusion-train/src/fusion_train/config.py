"""The settings of a training run: a profile (YAML), overridden key by key, checked before anything is loaded."""

from __future__ import annotations

import copy
import functools
import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from fusion_core.errors import ConfigError
from pydantic import BaseModel, ConfigDict, Field, ValidationError


class Settings(BaseModel):
    """Settings that cannot be changed once read and refuse unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class OptimiserSettings(Settings):
    """AdamW by part: each part of a system has a learning rate of its own."""

    projector_lr: float = Field(2e-4, gt=0)
    adapter_lr: float = Field(1e-4, gt=0)
    gate_lr: float = Field(1e-3, gt=0)
    lora_lr: float = Field(1e-3, gt=0, description="Low-rank adapters on the backbone.")
    backbone_lr: float = Field(1e-4, gt=0, description="Blocks of the backbone that train.")
    weight_decay: float = Field(0.01, ge=0, description="On matrices; never on gates, biases and norms.")
    epsilon: float = Field(1e-8, gt=0, description="Added to the root of Adam's second moment.")
    gate_penalty: float = Field(1e-4, ge=0, description="Factor of the sum of squared gates in the loss.")
    residual_alignment: float = Field(0.0, ge=0, description="Factor of 1 - cos(stream after an addition, before it).")
    clip_norm: float = Field(1.0, gt=0, description="Largest norm of the gradient.")


class ScheduleSettings(Settings):
    """Linear warm-up, then cosine to 0."""

    steps: int = Field(ge=1, description="Optimiser steps at most.")
    warmup: float = Field(0.03, ge=0, lt=1, description="Share of the steps with a rising learning rate.")


class AlignmentSettings(Settings):
    """The aligned start (``fusion_train.alignment``); 0 steps leave it out."""

    steps: int = Field(0, ge=0)
    lr: float = Field(2e-3, gt=0)
    weight_decay: float = Field(0.1, ge=0)
    batch: int = Field(64, ge=1, description="Clips of one step.")


class ModalitySettings(Settings):
    """One of several modalities that are bound together."""

    encoder: str | None = Field(None, description="Its frozen encoder; for audio the run's own if not given.")
    frozen: bool = Field(
        False, description="Take what init gives as it is; its projector, adapters and gates do not train."
    )


class MixtureSettings(Settings):
    """What a run of several modalities learns from (``mixture.py``)."""

    instruction: str = Field("Describe what is seen and heard.", min_length=1, description="The prompt of captions.")
    questions: bool = Field(
        True, description="Learn from the dataset's questions too: prompt the question, text the answer."
    )
    answer_weight: float = Field(
        4.0, gt=0, description="Of an answer's tokens in the loss: it has few beside a caption."
    )
    alone: float = Field(0.25, ge=0, le=1, description="Share of the texts for which one modality alone is bound.")


class ContrastiveSettings(Settings):
    """The auxiliary contrastive loss (``objectives/contrastive.py``); weight 0 leaves it out."""

    weight: float = Field(0.0, ge=0)
    text_encoder: str = Field("minilm", description="The frozen text encoder whose embeddings are the targets.")
    temperature: float = Field(0.07, gt=0)


class SelfCriticalSettings(Settings):
    """Self-critical sequence training (``objectives/scst.py``), which starts from the best cross-entropy weights."""

    start: Literal["never", "plateau", "always"] = Field(
        "never", description="plateau: where cross-entropy stopped early; --scst asks for always."
    )
    steps: int = Field(60, ge=1, description="Optimiser steps at most.")
    warmup: float = Field(0.1, ge=0, lt=1)
    rate: float = Field(0.05, gt=0, description="Factor of all learning rates.")
    samples: int = Field(5, ge=2, description="Captions sampled a clip.")
    baseline: Literal["leave-one-out", "greedy"] = "leave-one-out"
    temperature: float = Field(1.0, gt=0)
    entropy: float = Field(0.0, ge=0, description="Weight of the entropy that is rewarded.")
    divergence: float = Field(0.0, ge=0, description="Weight of the KL divergence to the cross-entropy policy.")


class ContingencySettings(Settings):
    """What is done when training diverges: back to the last checkpoint with a lower rate, then fewer audio tokens."""

    rollbacks: int = Field(2, ge=0, description="How often to go back before fewer tokens are tried.")
    rate_factor: float = Field(0.5, gt=0, le=1, description="Factor of the learning rates at each time.")
    clip_factor: float = Field(2.0, ge=1, description="Factor of the clipping norm at each time.")
    loss_factor: float = Field(3.0, gt=1, description="A loss above this many times the first one has diverged.")
    fewer_tokens: int = Field(8, ge=1, description="Audio tokens of the last attempt, from the start.")


class RetentionSettings(Settings):
    """Questions of a probe that are asked while the system trains (``retention_log.py``)."""

    probe: str | None = Field(
        None, description="Name or place of the probe; the one that suits the backbone if not given."
    )
    items: int = Field(100, ge=1, description="The first questions of the probe.")
    every: int = Field(1, ge=1, description="Evaluations from one measurement to the next.")


class EvaluationSettings(Settings):
    """Greedy captions of val during training."""

    every: int = Field(ge=1, description="Optimiser steps between two evaluations.")
    clips: int = Field(64, ge=1, description="The first clips of val that are captioned.")
    patience: int = Field(2, ge=1, description="Evaluations without a better CIDEr-D before training stops.")
    retention: RetentionSettings | None = Field(None, description="A probe that is asked too; none if not given.")


class DecodingSettings(Settings):
    """Beam search."""

    beams: int = Field(5, ge=1)
    max_new_tokens: int = Field(24, ge=1)
    length_penalty: float = 1.0
    batch: int = Field(32, ge=1, description="Clips decoded at once.")


class RunSettings(Settings):
    """Everything that decides what a run computes."""

    dataset: dict[str, Any] = Field({}, description="Options of the dataset, such as train: 800.")
    encoder: str = "aisfx"
    backbone: str = "smollm2-135m"
    precision: Literal["auto", "bf16", "fp32"] = Field(
        "auto", description="auto: bf16 where the machine is faster in it."
    )
    modalities: dict[str, ModalitySettings] = Field(
        {}, description="Modalities that are bound together, by name; audio alone, as it always was, if empty."
    )
    mixture: MixtureSettings = MixtureSettings()
    init: str | None = Field(
        None, description="Run whose modalities the training begins with; those that it lacks begin from nothing."
    )
    reference: dict[str, Any] = Field(
        {}, description="Options of the additive system; others are matched to it and take from it what they share."
    )
    system: dict[str, Any] = Field({}, description="Options of the system that is trained, such as sites: [12, 24].")
    batch: int = Field(16, ge=1, description="Clips of one forward pass.")
    accumulate: int = Field(1, ge=1, description="Forward passes of one optimiser step.")
    gradient_checkpointing: bool = False
    frozen_prefix: bool = Field(True, description="Compute what lies below the first site once a caption and keep it.")
    optimiser: OptimiserSettings = OptimiserSettings()
    alignment: AlignmentSettings = AlignmentSettings()
    contrastive: ContrastiveSettings = ContrastiveSettings()
    scst: SelfCriticalSettings = SelfCriticalSettings()
    contingency: ContingencySettings = ContingencySettings()
    schedule: ScheduleSettings
    evaluation: EvaluationSettings
    decoding: DecodingSettings = DecodingSettings()
    checkpoint_every: int = Field(50, ge=1, description="Optimiser steps between two checkpoints.")
    checkpoints_kept: int = Field(2, ge=1, description="The newest checkpoints that stay; --keep.")
    seed: int = 0

    def sha256(self) -> str:
        """Return a hash of the settings, equal for equal settings."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def profile_names() -> list[str]:
    """Return the names of the profiles that come with the package."""
    folder = resources.files("fusion_train") / "profiles"
    return sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_settings(
    profile: str,
    overrides: list[str] | None = None,
    seed: int | None = None,
    system: str | None = None,
    dataset: str | None = None,
) -> RunSettings:
    """Read a profile and apply ``key=value`` overrides, keys dotted, values in YAML.

    A profile may have settings for single systems under ``by_system``, such as the learning rates that suit each, and for single
    datasets under ``by_dataset``, such as how much of them is used.

    Args:
        profile: the name of a profile of the package, or the path of a YAML file.
        overrides: such as ``["schedule.steps=300", "system.sites=[8, 18]"]``.
        seed: the seed; None keeps the profile's.
        system: the system whose own settings of the profile hold; None takes none.
        dataset: the dataset whose own settings of the profile hold; None takes none.

    Raises:
        ConfigError: no such profile, an unknown key or a value of the wrong kind.
    """
    values = _read_profile(profile)
    for choices, chosen in (("by_dataset", dataset), ("by_system", system)):
        own = values.pop(choices, None) or {}
        _merge(values, own.get(chosen) or {})
    for override in overrides or []:
        _apply(values, override)
    if seed is not None:
        values["seed"] = seed
    try:
        return RunSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{profile}: {place}: {first['msg'].lower()}; see --set and the profile's keys.") from None


def choose_modalities(settings: RunSettings, names: list[str] | None, frozen: list[str]) -> RunSettings:
    """Return the settings with these modalities alone, and some of them frozen; the profile says what each is read by.

    Args:
        settings: of the profile.
        names: such as ``["video", "audio"]``; None keeps the profile's.
        frozen: those whose projector, adapters and gates do not train.

    Raises:
        ConfigError: a modality that is frozen is not among them.
    """
    wanted = list(settings.modalities) if names is None else sorted(set(names))
    if unknown := [name for name in frozen if name not in wanted]:
        raise ConfigError(
            f"--freeze {unknown[0]}: the run has no such modality; it has {', '.join(wanted) or 'audio alone'}."
        )
    chosen = {name: settings.modalities.get(name, ModalitySettings()) for name in wanted}
    for name in frozen:
        chosen[name] = chosen[name].model_copy(update={"frozen": True})
    return settings.model_copy(update={"modalities": chosen})


def _read_profile(profile: str) -> dict[str, Any]:
    if profile.endswith((".yaml", ".yml")):
        path = Path(profile)
        if not path.is_file():
            raise ConfigError(f"{profile}: there is no such profile file.")
        text = path.read_text(encoding="utf-8")
    elif profile in profile_names():
        text = (resources.files("fusion_train") / "profiles" / f"{profile}.yaml").read_text(encoding="utf-8")
    else:
        raise ConfigError(f"There is no profile {profile!r}: choose {', '.join(profile_names())}, or give a YAML file.")
    try:
        values = copy.deepcopy(_parse(text))  # the caller changes it
    except yaml.YAMLError as error:
        raise ConfigError(f"{profile}: not valid YAML ({str(error).splitlines()[0]}).") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{profile}: a profile is a mapping of settings.")
    return values


@functools.lru_cache(maxsize=8)
def _parse(text: str) -> Any:
    """Parse a profile once: a study resolves it hundreds of times."""
    return yaml.safe_load(text)


def _merge(values: dict[str, Any], changes: dict[str, Any]) -> None:
    """Put the changes into the values, section by section."""
    for key, change in changes.items():
        if isinstance(change, dict) and isinstance(values.get(key), dict):
            _merge(values[key], change)
        else:
            values[key] = change


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override}: write it as key=value, such as schedule.steps=300.")
    *parents, last = key.split(".")
    place = values
    for parent in parents:
        inner = place.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {override}: {parent} has no keys of its own.")
        place = inner
    place[last] = yaml.safe_load(text)
