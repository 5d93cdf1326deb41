"""Freezing of modules, and the names of what still trains."""

from __future__ import annotations

from torch import nn


def freeze(module: nn.Module) -> nn.Module:
    """Stop every parameter from training and leave training mode; return the module."""
    module.requires_grad_(requires_grad=False)
    return module.eval()


def trainable_names(module: nn.Module) -> list[str]:
    """Return the names of the parameters that train, in the module's order."""
    return [name for name, parameter in module.named_parameters() if parameter.requires_grad]
