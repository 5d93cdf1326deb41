"""Trainable fp32 copies of frozen weights, which take the place of the frozen ones while they are installed.

The frozen tensors stay where they are. PyTorch's parametrizations make each of them read as its copy, cast to the frozen type:
so the module computes in its own precision, gradients reach the fp32 copy, and recomputation (gradient checkpointing) sees the
copy too. Removing the parametrizations gives the untouched module back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from fusion_core.errors import ConfigError
from fusion_core.freeze import plant

Shapes = Mapping[str, tuple[int, ...]]


class _Substitute(nn.Module):
    """Reads a frozen weight as its trainable copy, in the type of the frozen one."""

    def __init__(self, copy: nn.Parameter) -> None:
        super().__init__()
        self._copy = (copy,)  # in a tuple, so that the backbone does not list it among its parameters
        self._cast: tuple[tuple[int, int], Tensor] | None = None

    def forward(self, frozen: Tensor) -> Tensor:
        """Return the copy; without gradients the cast is kept until the copy changes, as decoding asks for it each token."""
        (copy,) = self._copy
        if torch.is_grad_enabled() or copy.dtype == frozen.dtype:
            return copy.to(frozen.dtype)
        state = copy.data_ptr(), copy._version
        if self._cast is None or self._cast[0] != state:
            self._cast = state, copy.to(frozen.dtype)
        return self._cast[1]


class TrainableCopies(nn.Module):
    """Copies of the parameters of some modules, named ``<index>.<name of the parameter>``.

    Args:
        indices: which members of a list of modules are copied.
        shapes: the shape of each parameter of such a module, by name.
    """

    def __init__(self, indices: Sequence[int], shapes: Shapes) -> None:
        super().__init__()
        self.indices = tuple(indices)
        for index in self.indices:
            for name, shape in shapes.items():
                plant(self, f"{index}.{name}", nn.Parameter(torch.zeros(*shape)))

    def copy_from(self, modules: nn.ModuleList) -> None:
        """Take over the values of the frozen weights."""
        with torch.no_grad():
            for module, name, copy in self._places(modules):
                copy.copy_(getattr(module, name))

    def install(self, modules: nn.ModuleList) -> None:
        """Let the modules compute with the copies."""
        for module, name, copy in list(self._places(modules)):
            parametrize.register_parametrization(module, name, _Substitute(copy))

    def remove(self, modules: nn.ModuleList) -> None:
        """Let the modules compute with their frozen weights again."""
        for index in self.indices:
            for module in modules[index].modules():
                if parametrize.is_parametrized(module):
                    for name, _ in list(module.get_submodule("parametrizations").named_children()):
                        parametrize.remove_parametrizations(module, name, leave_parametrized=False)

    def _places(self, modules: nn.ModuleList) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
        """Yield each frozen parameter's module and name with its copy.

        Raises:
            ConfigError: the modules are not those that the copies were made for.
        """
        for index in self.indices:
            frozen = dict(modules[index].named_parameters())
            copies = dict(self.get_submodule(str(index)).named_parameters())
            if {name: p.shape for name, p in frozen.items()} != {name: p.shape for name, p in copies.items()}:
                raise ConfigError(
                    f"Block {index} of this backbone is not of the shape that was copied; use that backbone."
                )
            for path, copy in copies.items():
                parent, _, name = path.rpartition(".")
                yield modules[index].get_submodule(parent), name, copy
