"""The features of clips with several modalities: what each clip has, and any part of it, bound to a joint system.

Shapes: B clips, T frames, A encoder width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from fusion_core.context import FusionContext
from fusion_core.errors import ConfigError
from fusion_core.systems.base import FusionSystem
from fusion_core.systems.joint import Bound, Joint
from fusion_encoders.base import FeatureSequence
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, eq=False)
class ModalFeatures:
    """Frames of a batch of clips by modality.

    Attributes:
        clips: B.
        sequences: the frames of the clips that have the modality, in their order; a modality that no clip has is absent.
        present: by modality True for each of the B clips that has it.
    """

    clips: int
    sequences: Mapping[str, FeatureSequence]
    present: Mapping[str, Tensor]

    @classmethod
    def join(cls, clips: Sequence[Mapping[str, Tensor]]) -> ModalFeatures:
        """Join clips, each the frames x_TA of the modalities that it has, into one batch."""
        sequences, present = {}, {}
        for name in dict.fromkeys(name for clip in clips for name in clip):
            sequences[name] = FeatureSequence.pad([clip[name] for clip in clips if name in clip])
            present[name] = torch.tensor([name in clip for clip in clips])
        return cls(len(clips), sequences, present)

    def __len__(self) -> int:
        return self.clips

    def to(self, device: torch.device | str) -> ModalFeatures:
        """Return the same batch on another device."""
        sequences = {name: sequence.to(device) for name, sequence in self.sequences.items()}
        return ModalFeatures(self.clips, sequences, {name: flags.to(device) for name, flags in self.present.items()})

    def bind(self, system: FusionSystem) -> FusionContext:
        """Return what calls of the backbone are given.

        Raises:
            ConfigError: the system is not one of several modalities.
        """
        if not isinstance(system, Joint):
            raise ConfigError(f"{system.name!r} binds one modality alone; a system of several is {Joint.name!r}.")
        return system.bind_modalities(
            {
                name: Bound(sequence.x_BTA, sequence.mask_BT, self.present[name])
                for name, sequence in self.sequences.items()
            }
        )


class Features(Protocol):
    """The cached features of one encoder, such as :class:`fusion_encoders.cache.FeatureCache`."""

    def has(self, sha256: str) -> bool:
        """Say whether a clip is there."""
        ...

    def get(self, sha256: str) -> NDArray[Any]:
        """Return its frames x_TA."""
        ...


class ModalLookup:
    """Finds the frames of clips by modality and by the hash of their files.

    Args:
        caches: the features by modality.
        sources: by modality whose frames a clip is given instead of its own, by hash; for the shuffled controls.
    """

    def __init__(
        self, caches: Mapping[str, Features], sources: Mapping[str, Callable[[str], str]] | None = None
    ) -> None:
        self.caches = dict(caches)
        self.sources = dict(sources or {})

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities that are bound."""
        return tuple(self.caches)

    def only(self, modalities: Sequence[str]) -> ModalLookup:
        """Return a lookup that binds some of the modalities."""
        return ModalLookup({name: self.caches[name] for name in modalities}, self.sources)

    def shuffled(self, modality: str, others: Mapping[str, str]) -> ModalLookup:
        """Return a lookup that gives clips the frames of others in one modality."""
        return ModalLookup(self.caches, {**self.sources, modality: lambda sha256: others.get(sha256, sha256)})

    def has(self, sha256: str) -> bool:
        """Say whether a clip has any of the modalities."""
        return any(cache.has(sha256) for cache in self.caches.values())

    def lacking(self, hashes: Sequence[str]) -> dict[str, int]:
        """Return by modality how many of the clips have none of it."""
        return {name: sum(not cache.has(sha256) for sha256 in hashes) for name, cache in self.caches.items()}

    def gather(self, hashes: Sequence[str], bound: Sequence[Sequence[str]] | None = None) -> ModalFeatures:
        """Read and pad the features of clips, fp32.

        Args:
            hashes: of the clips' files.
            bound: the modalities that each clip is given, of those that it has; None gives all.
        """
        clips: list[dict[str, Tensor]] = [{} for _ in hashes]
        for name, cache in self.caches.items():
            source = self.sources.get(name)
            for place, sha256 in enumerate(hashes):
                key = source(sha256) if source else sha256
                if (bound is None or name in bound[place]) and cache.has(key):
                    clips[place][name] = torch.from_numpy(np.asarray(cache.get(key), np.float32))
        return ModalFeatures.join(clips)
