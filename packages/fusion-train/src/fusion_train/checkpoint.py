"""Checkpoints of a training run: complete, atomic, in safetensors, exact to the bit when taken up again.

A checkpoint is one folder, ``checkpoints/step-00000150``, that appears by a rename when all of it is on disk. The last good one
stays until the next stands, so a kill or a full disk at any point loses at most the steps since then.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from fusion_core.errors import DataError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

TENSORS_FILE = "state.safetensors"
PROGRESS_FILE = "progress.json"


def save_checkpoint(
    folder: Path,
    step: int,
    modules: Mapping[str, nn.Module],
    optimiser: Optimizer,
    progress: dict[str, Any],
    keep: int = 2,
) -> Path:
    """Write the checkpoint of a step and remove all but the newest ``keep``.

    Args:
        folder: where the run keeps its checkpoints.
        step: optimiser steps done.
        modules: the trainable weights: the system, and heads of objectives.
        optimiser: whose moments are kept.
        progress: the rest of the state, in JSON.
        keep: how many checkpoints stay.

    Raises:
        OSError: the disk is full; the earlier checkpoints stay as they were.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"step-{step:08d}"
    tensors = {
        f"{owner}.{name}": value for owner, module in modules.items() for name, value in module.state_dict().items()
    }
    tensors |= _optimiser_tensors(modules, optimiser)
    tensors["random.torch"] = torch.get_rng_state()
    working = Path(tempfile.mkdtemp(dir=folder, prefix=".writing-"))
    try:
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, working / TENSORS_FILE)
        (working / PROGRESS_FILE).write_text(json.dumps({"step": step, **progress}), encoding="utf-8")
        for name in (TENSORS_FILE, PROGRESS_FILE):
            _flush(working / name)
        shutil.rmtree(target, ignore_errors=True)
        working.rename(target)
    finally:
        shutil.rmtree(working, ignore_errors=True)
    for old in list_checkpoints(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints, oldest first."""
    return sorted(path for path in folder.glob("step-*") if (path / PROGRESS_FILE).is_file())


def load_checkpoint(path: Path, modules: Mapping[str, nn.Module], optimiser: Optimizer) -> dict[str, Any]:
    """Restore weights, moments and random state; return the progress that was kept.

    Raises:
        DataError: the checkpoint is damaged or of another system.
    """
    try:
        tensors = load_file(path / TENSORS_FILE)
        progress: dict[str, Any] = json.loads((path / PROGRESS_FILE).read_text(encoding="utf-8"))
        for owner, module in modules.items():
            before = f"{owner}."
            module.load_state_dict(
                {name.removeprefix(before): value for name, value in tensors.items() if name.startswith(before)}
            )
    except Exception as error:
        raise DataError(
            f"{path}: this checkpoint cannot be read ({error}); remove it to go on from an earlier one."
        ) from None
    _restore_optimiser(modules, optimiser, tensors)
    torch.set_rng_state(tensors["random.torch"])
    return progress


def _flush(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _names(modules: Mapping[str, nn.Module]) -> dict[Tensor, str]:
    return {
        parameter: f"{owner}.{name}"
        for owner, module in modules.items()
        for name, parameter in module.named_parameters()
    }


def _optimiser_tensors(modules: Mapping[str, nn.Module], optimiser: Optimizer) -> dict[str, Tensor]:
    """Return AdamW's moments and step counts by parameter name."""
    names = _names(modules)
    return {
        f"optimiser.{key}.{names[parameter]}": torch.as_tensor(value)
        for parameter, state in optimiser.state.items()
        for key, value in state.items()
    }


def _restore_optimiser(modules: Mapping[str, nn.Module], optimiser: Optimizer, tensors: dict[str, Tensor]) -> None:
    optimiser.state.clear()  # at step 0 there are no moments
    for parameter, name in _names(modules).items():
        suffix = f".{name}"
        state = {
            key.removeprefix("optimiser.").removesuffix(suffix): value
            for key, value in tensors.items()
            if key.startswith("optimiser.") and key.endswith(suffix) and key.count(".") == suffix.count(".") + 1
        }
        if state:
            optimiser.state[parameter] = {
                key: value if key == "step" else value.to(parameter.device) for key, value in state.items()
            }
