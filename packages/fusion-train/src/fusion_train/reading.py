"""How a batch is run through the backbone: nothing is computed again that text alone decides.

Two things are known before a clip is heard: the head of the prompt, where the system does not hear it (one reading serves all
clips), and what lies below the system's first site (the frozen prefix).

Shapes: B batch, S text positions, N predicted tokens, D backbone width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fusion_core.backbone import Backbone
from fusion_core.context import FusionContext, HeardFrom
from fusion_core.prompt import Prompt
from fusion_core.prompt_head import PromptHead
from fusion_core.systems.base import FusionSystem
from torch import Tensor

from fusion_train.config import RunSettings
from fusion_train.examples import Batch
from fusion_train.prefix import FrozenPrefix


class Reader:
    """Runs batches of one prompt through a backbone.

    Args:
        backbone: the model.
        prompt: the prompt of every batch.
        head: what reads the prompt's head once for all clips; None reads it with every row.
        prefix: what lies below the first site; None runs all blocks.
    """

    def __init__(
        self, backbone: Backbone, prompt: Prompt, head: PromptHead | None = None, prefix: FrozenPrefix | None = None
    ) -> None:
        self.backbone = backbone
        self.prompt = prompt
        self.head = head
        self.prefix = prefix

    def prepare(self, captions: Iterable[Sequence[int]]) -> None:
        """Compute what can be known of captions that will be read: token ids without the end token.

        Raises:
            DataError: the disk is full.
        """
        if self.prefix is not None:
            self.prefix.fill(captions)

    @property
    def start(self) -> int:
        """The first position that is read: what stands before it has been read already."""
        return self.prompt.unheard if self.head is not None else 0

    def hidden(self, batch: Batch, fusion: FusionContext | None) -> Tensor:
        """Return the last hidden state after the final norm at the positions that predict a token, h_ND."""
        return self.hidden_above(batch, fusion, None if self.prefix is None else self.prefix.stream(batch, self.start))

    def hidden_above(self, batch: Batch, fusion: FusionContext | None, stream_BSD: Tensor | None) -> Tensor:
        """Return the same, where the streams at the prefix's block are at hand.

        Args:
            batch: prompts and captions.
            fusion: the modality bound to this call, or None.
            stream_BSD: the streams from :attr:`start` on, 0 at padding; None runs all blocks.
        """
        past = None if self.head is None else self.head.past(len(batch.ids_BS))
        if self.head is None and fusion is not None:
            fusion = heard_from(fusion, self.prompt)
        if self.prefix is None or stream_BSD is None:
            hidden_BSD = self.backbone.hidden(batch.ids_BS[:, self.start :], batch.mask_BS, past, fusion)
        else:
            hidden_BSD = self.prefix.split.hidden(stream_BSD, batch.mask_BS, fusion, past)
        return hidden_BSD[batch.labels_BS[:, self.start :]]


def heard_from(fusion: FusionContext, prompt: Prompt) -> FusionContext:
    """Return a context that leaves the prompt's head alone where both are read in one call."""
    return HeardFrom(fusion, prompt.unheard) if prompt.unheard else fusion


def prompt_head(backbone: Backbone, system: FusionSystem, prompt: Prompt) -> PromptHead | None:
    """Return what reads the prompt's head for a system; None where the prompt has none."""
    return PromptHead(backbone, prompt, frozen=not system.changes_backbone) if prompt.head else None


def make_reader(backbone: Backbone, system: FusionSystem, prompt: Prompt, settings: RunSettings) -> Reader:
    """Return the reader of a training run.

    With gradient checkpointing the blocks cannot use keys and values from before, so the prompt's head is read with every row.

    Raises:
        ConfigError: the settings ask for the frozen prefix, and the backbone cannot be entered in the middle.
    """
    head = None if settings.gradient_checkpointing else prompt_head(backbone, system, prompt)
    prefix = None
    if settings.frozen_prefix and system.first_site > 0:
        prefix = FrozenPrefix(backbone, prompt, system.first_site)
    return Reader(backbone, prompt, head, prefix)
