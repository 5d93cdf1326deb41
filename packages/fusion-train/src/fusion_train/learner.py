"""What learns: backbone, system, training split and reader together, in one of several processes that share each step.

Every process sees the same effective batches and takes its share of each; gradients are summed before the optimiser moves, so the
number of processes changes nothing but the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from fusion_core.backbone import Backbone
from fusion_core.context import FusionContext
from fusion_core.systems.base import FusionSystem
from torch import Tensor, nn

from fusion_train.examples import Batch, TrainingExamples, bind_features
from fusion_train.reading import Reader, heard_from

Pair = tuple[int, int]
"""A clip and one of its captions, as indices into the training split."""


@dataclass(frozen=True)
class Learner:
    """One process's view of a training.

    Attributes:
        backbone: the frozen model.
        system: what trains.
        examples: the training split.
        reader: runs batches through the backbone.
        accelerator: the processes.
        batch: clips of one forward pass at most.
    """

    backbone: Backbone
    system: FusionSystem
    examples: TrainingExamples
    reader: Reader
    accelerator: Accelerator
    batch: int

    def share(self, pairs: Sequence[Pair]) -> list[Pair]:
        """Return this process's share of an effective batch."""
        return list(pairs[self.accelerator.process_index :: self.accelerator.num_processes])

    def micro_batches(self, pairs: Sequence[Pair]) -> Iterator[list[Pair]]:
        """Yield this process's share of an effective batch, a forward pass at a time."""
        mine = self.share(pairs)
        for start in range(0, len(mine), self.batch):
            yield mine[start : start + self.batch]

    def collate(self, pairs: Sequence[Pair]) -> Batch:
        """Build the tensors of one forward pass on the backbone's device."""
        return self.examples.collate(pairs).to(self.backbone.device)

    def bind(self, batch: Batch) -> FusionContext:
        """Bind a batch's clips."""
        slots_BS = self.examples.prompt.slot_index(batch.ids_BS.shape[1])
        return bind_features(self.system, batch.features, slots_BS)

    def heard(self, batch: Batch) -> FusionContext:
        """Bind a batch's clips for a call that reads prompts and captions at once."""
        return heard_from(self.bind(batch), self.examples.prompt)

    def prepare(self, pairs: Iterable[Pair]) -> None:
        """Compute what can be known of captions that will be read."""
        tokens = self.examples.tokens
        self.reader.prepare(tokens[clip][caption][:-1] for clip, caption in pairs)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss, which is this process's part of a sum over all processes."""
        if loss.requires_grad:  # a system without gates has no penalty
            self.accelerator.backward(loss)

    def total(self, value: float) -> float:
        """Return the sum of a number over the processes."""
        if self.accelerator.num_processes == 1:
            return value
        tensor = torch.tensor(value, dtype=torch.float64, device=self.accelerator.device)
        return float(self.accelerator.reduce(tensor, "sum"))

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its sum over the processes."""
        if self.accelerator.num_processes == 1:
            return
        having = [parameter for parameter in parameters if parameter.requires_grad]
        flat = torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).float().flatten() for p in having])
        flat = self.accelerator.reduce(flat, "sum")
        for parameter, part in zip(having, flat.split([p.numel() for p in having]), strict=True):
            if parameter.grad is not None:
                parameter.grad.copy_(part.view_as(parameter))
