"""What a frozen text encoder is, and the cache that keeps each text's embedding.

Shapes: N texts, A width of the text encoder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from fusion_core.files import cache_dir
from fusion_core.progress import track
from torch import Tensor

from fusion_encoders.base import sha256_of_settings
from fusion_encoders.feature_store import FeatureStore

_CHUNK = 512
"""Texts encoded between two steps of the progress bar."""
_SHORT = 2 * _CHUNK
"""Fewer texts than this are encoded without a progress bar."""


class FrozenTextEncoder(Protocol):
    """A pretrained encoder of sentences whose weights never change.

    ``width`` is A. The two hashes name the weights and every setting that changes an embedding.
    """

    name: str
    width: int
    weights_sha256: str
    preprocessing_sha256: str

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Return one embedding of unit length a text, t_NA (float32, on the CPU)."""
        ...

    def fingerprint(self) -> str:
        """Return one SHA-256 for the encoder, its weights and its preprocessing."""
        return sha256_of_settings(
            {
                "name": self.name,
                "weights_sha256": self.weights_sha256,
                "preprocessing_sha256": self.preprocessing_sha256,
            }
        )


class TextCache:
    """The cached embeddings of one text encoder, by the SHA-256 of each text; in float32, as they were computed.

    ``root`` is the folder that holds one folder an encoder; by default ``texts`` in the user's cache.

    Raises:
        DataError: the encoder's folder holds embeddings of another encoder.
    """

    def __init__(self, encoder: FrozenTextEncoder, root: Path | None = None) -> None:
        self.encoder = encoder
        fingerprint = encoder.fingerprint()
        folder = (root or cache_dir() / "texts") / f"{encoder.name}-{fingerprint[:16]}"
        identity = {
            "schema": "fusion.texts/1",
            "encoder": encoder.name,
            "width": encoder.width,
            "weights_sha256": encoder.weights_sha256,
            "preprocessing_sha256": encoder.preprocessing_sha256,
            "fingerprint": fingerprint,
        }
        self._store = FeatureStore(folder, encoder.width, identity, np.dtype("<f4"))

    @property
    def folder(self) -> Path:
        """Where the embeddings lie."""
        return self._store.folder

    def __len__(self) -> int:
        return len(self._store)

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Return the embeddings t_NA of texts; those that are not in the cache are computed and kept.

        Raises:
            DataError: the disk is full, or what is in the cache was damaged; what was kept before stays.
        """
        hashes = [text_sha256(text) for text in texts]
        missing = {key: text for key, text in zip(hashes, texts, strict=True) if key not in self._store}
        if missing:
            self._fill(missing)
        rows = [np.array(self._store.read(key)[0]) for key in hashes]
        return torch.from_numpy(np.stack(rows)) if rows else torch.empty(0, self.encoder.width)

    def _fill(self, missing: dict[str, str]) -> None:
        with self._store.writing() as writer:
            wanted = [(key, text) for key, text in missing.items() if key not in self._store]
            chunks = [wanted[start : start + _CHUNK] for start in range(0, len(wanted), _CHUNK)]
            shown = track(chunks, f"encoding with {self.encoder.name}") if len(wanted) > _SHORT else chunks
            for chunk in shown:
                embeddings_NA = self.encoder.encode([text for _, text in chunk]).numpy()
                for (key, _), row_A in zip(chunk, embeddings_NA, strict=True):
                    writer.append(key, row_A[None])


def text_sha256(text: str) -> str:
    """Return the SHA-256 of a text's UTF-8 bytes."""
    return hashlib.sha256(text.encode()).hexdigest()
