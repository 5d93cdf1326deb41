"""The cells of procedural images, encoded once and kept in the user's cache.

Shapes: B images, C cells, A width of the cells.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from fusion_core.files import cache_dir
from fusion_core.progress import track
from fusion_encoders.base import sha256_of_settings
from fusion_encoders.efficientnet import EfficientNetLite0
from fusion_encoders.feature_store import FeatureStore
from torch import Tensor

from fusion_train.visual_questions import VisualScene, example, render

_AT_ONCE = 16


class SceneCells:
    """Keeps the cells of scenes by what the scenes show.

    Args:
        encoder: gives the cells.
    """

    def __init__(self, encoder: EfficientNetLite0) -> None:
        self.encoder = encoder
        self.side = encoder.preprocessing.side
        sample = render(example("train", 0, 0)[0], self.side)
        identity = {
            "schema": "fusion.features/1",
            "encoder": encoder.name,
            "fingerprint": encoder.fingerprint(),
            "rendering_sha256": hashlib.sha256(sample.tobytes()).hexdigest(),
        }
        folder = cache_dir() / "features" / f"visual-questions-{sha256_of_settings(identity)[:16]}"
        self.store = FeatureStore(folder, encoder.width, identity)

    def fill(self, scenes: Sequence[VisualScene]) -> None:
        """Encode the scenes that are not kept yet; what is kept stays where this is stopped."""
        with self.store.writing() as writer:
            missing = [scene for scene in scenes if _key(scene) not in self.store]
            parts = [missing[start : start + _AT_ONCE] for start in range(0, len(missing), _AT_ONCE)]
            for part in track(parts, f"images, encoded {_AT_ONCE} at once"):
                for scene, x_CA in zip(part, self.encoder.encode(self._pixels(part)), strict=True):
                    writer.append(_key(scene), x_CA.numpy())

    def read(self, scenes: Iterable[VisualScene]) -> Tensor:
        """Return the cells of scenes that were encoded, x_BCA.

        Raises:
            DataError: a scene was not, or its cells were damaged on the disk.
        """
        return torch.from_numpy(np.stack([self.store.read(_key(scene)) for scene in scenes])).float()

    def _pixels(self, scenes: Sequence[VisualScene]) -> Tensor:
        return torch.stack([torch.from_numpy(render(scene, self.side)).permute(2, 0, 1) for scene in scenes])


def _key(scene: VisualScene) -> str:
    return hashlib.sha256(repr(scene).encode()).hexdigest()
