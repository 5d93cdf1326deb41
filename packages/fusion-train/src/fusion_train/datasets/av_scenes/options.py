"""What a user may choose about procedural videos with sound."""

from __future__ import annotations

from fusion_train.datasets.scenes.options import Split
from pydantic import BaseModel, ConfigDict, Field


class AvScenesOptions(BaseModel):
    """The options of the dataset ``av-scenes``; all of them decide its content."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=0, ge=0, description="Seed of every draw; each clip has its own stream.")
    train: int = Field(default=600, ge=1, description="Number of clips to train on.")
    val: int = Field(default=48, ge=1, description="Number of clips to choose settings by.")
    test: int = Field(
        default=120, ge=2, description="Number of clips to report on, half of them held-out combinations."
    )
    seconds: float = Field(default=4.0, ge=2.0, le=20.0, description="Length of a clip in s.")
    side: int = Field(default=96, ge=32, le=512, multiple_of=2, description="Pixels a side of a frame.")
    frame_rate: float = Field(default=12.0, ge=4.0, le=60.0, description="Frames a second of a clip.")
    sample_rate: int = Field(default=44_100, ge=16_000, le=48_000, description="Rate of the sound track in Hz.")

    def count(self, split: Split) -> int:
        """Return the number of clips of a split."""
        return {"train": self.train, "val": self.val, "test": self.test}[split]
