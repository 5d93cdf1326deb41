"""What a user may choose about composed scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


class ScenesOptions(BaseModel):
    """The options of the dataset ``scenes``; all but ``workers`` decide its bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=0, ge=0, description="Seed of every draw; each clip has its own stream.")
    train: int = Field(default=800, ge=1, description="Number of clips to train on.")
    val: int = Field(default=64, ge=1, description="Number of clips to choose settings by.")
    test: int = Field(
        default=160, ge=2, description="Number of clips to report on, half of them held-out combinations."
    )
    sample_rate: int = Field(
        default=44_100, ge=8_000, le=192_000, description="Rate of the clips in Hz (44,100 is aiSFX's)."
    )
    minimum_seconds: float = Field(default=6.0, ge=4.0, le=60.0, description="Shortest clip in s.")
    maximum_seconds: float = Field(default=10.0, ge=4.0, le=60.0, description="Longest clip in s.")
    bank: Path | None = Field(
        default=None, description="Folder of labelled recordings with manifest.csv; without it sounds are synthesised."
    )
    minimum_recordings: int = Field(
        default=4, ge=2, description="A class of a bank needs this many original recordings, all splits together."
    )
    workers: int | None = Field(default=None, ge=1, description="Processes that render; by default one a core.")

    @model_validator(mode="after")
    def _lengths_are_ordered(self) -> Self:
        if self.maximum_seconds < self.minimum_seconds:
            raise ValueError(f"maximum_seconds {self.maximum_seconds} is below minimum_seconds {self.minimum_seconds}")
        return self

    def count(self, split: Split) -> int:
        """Return the number of clips of a split."""
        return {"train": self.train, "val": self.val, "test": self.test}[split]
