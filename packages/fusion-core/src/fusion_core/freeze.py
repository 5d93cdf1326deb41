"""Freezing of modules, the names of what still trains, and trees of trainable parameters named after frozen ones."""

from __future__ import annotations

from torch import nn


def freeze(module: nn.Module) -> nn.Module:
    """Stop every parameter from training and leave training mode; return the module."""
    module.requires_grad_(requires_grad=False)
    return module.eval()


def trainable_names(module: nn.Module) -> list[str]:
    """Return the names of the parameters that train, in the module's order."""
    return [name for name, parameter in module.named_parameters() if parameter.requires_grad]


def plant(root: nn.Module, path: str, parameter: nn.Parameter) -> None:
    """Register a parameter under a dotted path, making the modules on the way, so that its name is that path."""
    *parents, last = path.split(".")
    for name in parents:
        if name not in dict(root.named_children()):
            root.add_module(name, nn.Module())
        root = root.get_submodule(name)
    root.register_parameter(last, parameter)
