"""The settings of the two linear heads that put sounds and texts into one space."""

from __future__ import annotations

from collections.abc import Sequence

import yaml
from fusion_core.errors import ConfigError
from fusion_eval.schemas.base import first_problem
from pydantic import BaseModel, ConfigDict, Field, ValidationError


class HeadSettings(BaseModel):
    """How the heads are trained; the defaults were chosen on val of ``scenes``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text_encoder: str = "minilm"
    width: int = Field(256, ge=1, description="Width of the shared space.")
    epochs: int = Field(60, ge=1, description="Passes over the training clips at most.")
    batch: int = Field(256, ge=2, description="Clips of one step, with all their references.")
    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.1, ge=0)
    dropout: float = Field(0.3, ge=0, lt=1, description="Share of the audio features left out at a step.")
    patience: int = Field(10, ge=1, description="Epochs without a lower loss on val before training stops.")
    seed: int = Field(0, ge=0)


def parse_head_settings(changes: Sequence[str], seed: int | None = None) -> HeadSettings:
    """Return the default settings with ``heads.KEY=VALUE`` changes, values in YAML.

    Raises:
        ConfigError: an unknown key or a value of the wrong kind.
    """
    values = {}
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals or not key.startswith("heads."):
            raise ConfigError(f"--set {change}: write it as heads.KEY=VALUE, such as heads.width=128.")
        try:
            values[key.removeprefix("heads.")] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(f"--set {change}: the value is not valid YAML.") from None
    if seed is not None:
        values["seed"] = seed
    try:
        return HeadSettings.model_validate(values)
    except ValidationError as error:
        known = ", ".join(HeadSettings.model_fields)
        raise ConfigError(f"--set heads: {first_problem(error)} The keys are {known}.") from None
