"""Floating-point operations of a call, by torch's own counter: 2 a multiply-add.

The counter knows matrix products, convolutions and attention. What it does not know counts 0 and is listed by name: with decoder
models those are elementwise operations, norms and softmaxes, which are small beside the products. A kernel that hides products
from the counter would show up in the list too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

# Operations that move, make or look at tensors and compute nothing.
_FREE_NAMES = """
    _assert_async _conj _local_scalar_dense _to_copy _unsafe_view alias arange as_strided cat clone contiguous copy_
    detach detach_ embedding empty empty_like empty_strided equal expand fill_ full full_like gather index index_put_
    index_select is_same_size item lift_fresh masked_fill narrow new_empty new_empty_strided new_full new_ones
    new_zeros ones ones_like permute promote_types repeat_interleave reshape resize_ roll scalar_tensor scatter select
    select_backward set_ slice slice_backward split split_with_sizes squeeze stack sym_size t transpose unbind unfold
    unsqueeze view where zero_ zeros zeros_like
"""
_FREE = frozenset(_FREE_NAMES.split())


@dataclass
class Flops:
    """What a call cost: ``total`` of the known operations, and how often each unknown one ran."""

    total: int = 0
    unknown: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: Flops) -> Flops:
        return Flops(self.total + other.total, self.unknown + other.unknown)


class _UnknownOperations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations of which the FLOP counter knows nothing."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        packet = func._overloadpacket
        name = packet.__name__
        if packet not in flop_registry and name not in _FREE:
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


def count_flops(call: Callable[[], object]) -> Flops:
    """Run a call and count its floating-point operations, those of a backward pass in it too.

    On the meta device nothing is computed, so models that do not fit the machine are counted as well.
    """
    unknown = _UnknownOperations()
    with FlopCounterMode(display=False) as counter, unknown:
        call()
    return Flops(counter.get_total_flops(), unknown.found)
