"""The aiSFX weights: taken from the installed package, converted once to safetensors in the user's cache.

The weights are by A. B. Ma and A. Lerch (ISMIR 2022), under CC BY 4.0. The package's checkpoint is a pickle; it is read
with ``weights_only=True`` and an allow-list of the two NumPy names in it, and none of the package's code is imported.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fusion_core.errors import DataError, MissingAssetError
from fusion_core.files import cache_dir, write_atomic
from fusion_core.locks import waiting_lock
from safetensors import SafetensorError
from safetensors.torch import load, load_file, save
from torch import Tensor

_PACKAGE = "aisfx"
_PREFIX = "embedding_net."


def converted_weights() -> Path:
    """Return the safetensors file of the network's weights, and make it first where it is not there or is damaged.

    Raises:
        MissingAssetError: the package with the weights is not installed.
        DataError: the package's checkpoint does not hold the network.
    """
    checkpoint, version = _installed_checkpoint()
    path = cache_dir() / "weights" / f"aisfx-{version}.safetensors"
    if _is_whole(path):
        return path
    with waiting_lock(path.with_suffix(".lock"), f"converting {path.stem}"):
        if not _is_whole(path):
            write_atomic(path, save(_read_checkpoint(checkpoint)))
    return path


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the network's state dict, names without a prefix."""
    state: dict[str, Tensor] = load_file(path)
    return state


def _installed_checkpoint() -> tuple[Path, str]:
    specification = importlib.util.find_spec(_PACKAGE)
    if specification is None or not specification.submodule_search_locations:
        raise MissingAssetError(
            "the weights of encoder aisfx come with the package aisfx, which is not installed: "
            "pip install 'fusion-encoders[embedded]'"
        )
    checkpoint = Path(specification.submodule_search_locations[0]) / "models" / "checkpoint.pth"
    if not checkpoint.is_file():
        raise MissingAssetError(
            "the installed package aisfx lacks models/checkpoint.pth: pip install --force-reinstall --no-deps aisfx"
        )
    return checkpoint, importlib.metadata.version(_PACKAGE)


def _read_checkpoint(checkpoint: Path) -> dict[str, Tensor]:
    """Read the pickle: a pair of the state dict and a dict of NumPy integers, which the allow-list lets pass."""
    rebuild_scalar = np.int64(0).__reduce__()[0]
    allowed: list[Any] = [np.dtype, type(np.dtype(np.int64)), (rebuild_scalar, "numpy.core.multiarray.scalar")]
    with torch.serialization.safe_globals(allowed):
        state, _ = torch.load(checkpoint, map_location="cpu", weights_only=True)
    tensors = {
        name.removeprefix(_PREFIX): tensor.contiguous()
        for name, tensor in state.items()
        if name.startswith(_PREFIX) and not name.endswith("num_batches_tracked")
    }
    if not tensors:
        raise DataError(f"{checkpoint} holds no tensor named {_PREFIX}*: reinstall the package aisfx")
    return tensors


def _is_whole(path: Path) -> bool:
    try:
        load(path.read_bytes())
    except (OSError, SafetensorError):
        return False
    return True
