"""Where CLAP's weights lie, and the two towers that they make: a folder of transformers, or a checkpoint of LAION.

Nothing is downloaded. The weights are, in this order: what the option ``source`` names, what the environment variable
``FUSION_CLAP`` names (a folder, a checkpoint file, or a repository in the hub's cache; not for ``clap-fused``), and LAION's
repository in the hub's cache.

Shapes: S samples, W windows, T frames a window, A encoder width, B clips or texts, E width of the shared space, L tokens.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from fusion_core.errors import DataError, MissingAssetError
from fusion_core.files import sha256_file
from fusion_core.hub import local_folder
from torch import Tensor
from torch.nn import functional

from fusion_encoders.clap_listening import ClapMel

SOURCE_VARIABLE = "FUSION_CLAP"
UNFUSED = "laion/clap-htsat-unfused"
FUSED = "laion/clap-htsat-fused"
FRAMES_A_WINDOW = 32
MOST_TOKENS = 77
"""A longer text is cut, as in training."""
_BATCH = 64
_CHECKPOINTS = (".pt", ".pth", ".ckpt")


@dataclass(frozen=True)
class ClapFacts:
    """What is known of weights before they are loaded.

    Attributes:
        mel: how they want a clip to be heard.
        width: A.
        shared_width: E.
    """

    mel: ClapMel
    width: int
    shared_width: int


class ClapAudioTower(Protocol):
    """The frozen audio tower and its projection."""

    def frames(self, waveform_S: Tensor) -> Tensor:
        """Return the frames x_WTA of each window of a waveform at 48 kHz; their mean over T is what the projection takes."""
        ...

    def project(self, pooled_BA: Tensor) -> Tensor:
        """Return the vectors e_BE of pooled windows in the shared space, not yet of unit length."""
        ...


class ClapTextTower(Protocol):
    """The frozen text tower and its projection."""

    tokenizer: Any

    def embed(self, ids_BL: Tensor) -> Tensor:
        """Return the vectors e_BE of texts without padding in the shared space, not yet of unit length."""
        ...


@dataclass(frozen=True)
class ClapWeights:
    """Weights that are on this machine.

    Attributes:
        path: a folder in transformers' layout, or a checkpoint file of LAION.
        sha256: of the weight file.
    """

    path: Path
    sha256: str

    @property
    def is_checkpoint(self) -> bool:
        """Whether this is a checkpoint file of LAION."""
        return self.path.suffix in _CHECKPOINTS

    def facts(self) -> ClapFacts:
        """Return what is known of the weights without loading them."""
        if self.is_checkpoint:
            from fusion_encoders.clap_laion import checkpoint_facts

            return checkpoint_facts(self.path)
        from fusion_encoders.clap_transformers import folder_facts

        return folder_facts(self.path)

    def audio_tower(self) -> ClapAudioTower:
        """Load the audio tower."""
        if self.is_checkpoint:
            from fusion_encoders.clap_laion import LaionAudioTower

            return LaionAudioTower(self.path)
        from fusion_encoders.clap_transformers import TransformersAudioTower

        return TransformersAudioTower(self.path)

    def text_tower(self) -> ClapTextTower:
        """Load the text tower."""
        if self.is_checkpoint:
            from fusion_encoders.clap_laion import LaionTextTower

            return LaionTextTower(self.path)
        from fusion_encoders.clap_transformers import TransformersTextTower

        return TransformersTextTower(self.path)


def find_weights(source: str | None, repository: str = UNFUSED) -> ClapWeights:
    """Return the weights that are named, or those of LAION's repository.

    Args:
        source: a folder, a checkpoint file, or a repository in the hub's cache; None where none is named.
        repository: what is looked for where none is named.

    Raises:
        MissingAssetError: they are not on this machine; the message names what provides them.
    """
    named = source or (os.environ.get(SOURCE_VARIABLE) if repository == UNFUSED else None)
    path = Path(named).expanduser() if named else None
    if path is None or not path.exists():
        try:
            path = local_folder(named or repository, ["config.json"])
        except MissingAssetError:
            path = None
    if path is None or not path.exists():
        raise MissingAssetError(
            f"The weights of CLAP are not on this machine ({named or repository}): hf download {repository}, or name a folder of "
            f"transformers or a checkpoint of LAION by {SOURCE_VARIABLE}=PATH."
        )
    return ClapWeights(path, _weights_sha256(path))


def _weights_sha256(path: Path) -> str:
    if path.is_file():
        return sha256_file(path)
    for pattern in ("*.safetensors", "pytorch_model*.bin"):
        files = sorted(path.glob(pattern))
        if files:
            hashes = [sha256_file(file) for file in files]
            return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
    raise MissingAssetError(f"{path} holds no model.safetensors: hf download {UNFUSED}.")


def project_frames(tower: ClapAudioTower, x_TA: Tensor) -> Tensor:
    """Return the unit vector e_E of a clip: each window's mean frame projected to unit length, then the windows' mean."""
    if len(x_TA) % FRAMES_A_WINDOW:
        raise DataError(
            f"{len(x_TA)} frames are not whole windows of {FRAMES_A_WINDOW}: CLAP's audio side takes features of encoder clap."
        )
    pooled_WA = x_TA.float().reshape(-1, FRAMES_A_WINDOW, x_TA.shape[1]).mean(dim=1)
    windows_WE = functional.normalize(tower.project(pooled_WA), dim=-1)
    return functional.normalize(windows_WE.mean(dim=0), dim=-1)


def embed_texts(tower: ClapTextTower, texts: Sequence[str], width: int) -> Tensor:
    """Return the unit vectors e_BE of texts; texts of equal length share a batch, so that nothing is padded."""
    result_BE = torch.empty(len(texts), width)
    if not texts:
        return result_BE
    ids = tower.tokenizer(list(texts), truncation=True, max_length=MOST_TOKENS, padding=False)["input_ids"]
    by_length = defaultdict(list)
    for index, tokens in enumerate(ids):
        by_length[len(tokens)].append(index)
    for indices in by_length.values():
        for start in range(0, len(indices), _BATCH):
            part = indices[start : start + _BATCH]
            embedded_BE = tower.embed(torch.tensor([ids[index] for index in part]))
            result_BE[part] = functional.normalize(embedded_BE.float(), dim=-1)
    return result_BE


def roberta_tokenizer(folder: Path, provide: Callable[[str], str]) -> Any:
    """Return RoBERTa's tokenizer: from a folder where its files lie there, otherwise from the hub's cache.

    Args:
        folder: where it is looked for first.
        provide: given the repository, the sentence of the error.

    Raises:
        MissingAssetError: it is in neither place.
    """
    from transformers import AutoTokenizer

    if (folder / "tokenizer.json").is_file():
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    for repository in ("FacebookAI/roberta-base", "roberta-base"):
        try:
            return AutoTokenizer.from_pretrained(repository, local_files_only=True)
        except (OSError, ValueError):
            continue
    raise MissingAssetError(provide("FacebookAI/roberta-base"))
