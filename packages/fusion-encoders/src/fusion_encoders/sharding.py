"""Share the encoding of a dataset among processes or machines, none of which talks to another.

Each clip belongs to one of them by the hash of its file, so that the shares are equal and do not depend on any order.
"""

from __future__ import annotations

from dataclasses import dataclass

from fusion_core.errors import ConfigError


@dataclass(frozen=True)
class Shard:
    """The share of one of ``world`` processes, which count from 0.

    Raises:
        ConfigError: the rank is not one of the world's.
    """

    rank: int
    world: int

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world:
            raise ConfigError(
                f"rank {self.rank} of {self.world} is no share: give a rank from 0 to {self.world - 1} (--rank, --world)."
            )

    @property
    def name(self) -> str:
        """What the folder of this share is called."""
        return f"{self.rank}-of-{self.world}"

    def holds(self, sha256: str) -> bool:
        """Say whether the clip with this SHA-256 belongs to this share."""
        return int(sha256[:16], 16) % self.world == self.rank
