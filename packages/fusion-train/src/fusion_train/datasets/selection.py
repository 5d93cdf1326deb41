"""A part of a prepared dataset, seen as a dataset: a published list of test clips, or a few clips for a trial.

The folder stays whole, so one preparation serves every part; the references' hash tells the parts apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from fusion_eval.schemas import ManifestRow, References, read_manifest

from fusion_train.datasets.base import MANIFEST, PreparedDataset


@dataclass(frozen=True)
class SelectedDataset(PreparedDataset):
    """A prepared dataset of which some splits are cut; ``kept`` has the ids of the clips that stay, by split."""

    kept: Mapping[str, frozenset[str]]

    @cached_property
    def manifest(self) -> list[ManifestRow]:
        """The rows of the clips that stay, also of those that cannot be used."""
        rows = read_manifest(self.root / MANIFEST)
        return [row for row in rows if row.split not in self.kept or row.id in self.kept[row.split]]

    def references(self, split: str) -> References:
        """Return the captions of the clips that stay.

        Raises:
            DataError: the split has no captions.
        """
        whole = super().references(split)
        if split not in self.kept:
            return whole
        return whole.model_copy(update={"items": tuple(item for item in whole.items if item.id in self.kept[split])})


def select(
    dataset: PreparedDataset, limits: Mapping[str, int], test_ids: frozenset[str] | None = None
) -> SelectedDataset:
    """Return a part of a dataset.

    Args:
        dataset: the whole.
        limits: how many usable clips stay at most, by split; they are chosen by the hash of their ids, so that more clips
            are these and others. A split with no more usable clips than that stays whole, with those that cannot be used.
        test_ids: the test clips that stay; None keeps all.
    """
    kept = {} if test_ids is None else {"test": test_ids}
    for split, limit in limits.items():
        rows = [row for row in dataset.manifest if row.split == split and (split not in kept or row.id in kept[split])]
        usable = sorted((row.id for row in rows if row.status == "ok"), key=_draw)
        if len(usable) > limit:
            kept[split] = frozenset(usable[:limit])
    return SelectedDataset(dataset.name, dataset.root, kept)


def _draw(identity: str) -> str:
    return hashlib.sha256(identity.encode()).hexdigest()
