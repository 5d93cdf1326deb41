"""How a batch is run whose rows have prompts of their own.

What is known before a clip is bound is still computed once: the head of each prompt, where the system does not act on it, and
what lies below the first site, text by text. The heads of a batch are put side by side, padded on the left.

Shapes: B batch, S text positions, N predicted tokens, D backbone width; H heads of keys, L positions, W their width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from fusion_core.backbone import Backbone
from fusion_core.context import FusionContext, HeardFrom
from fusion_core.prompt import Prompt
from fusion_core.prompt_head import PromptHead
from fusion_core.split import SplitDecoder
from fusion_core.systems.base import FusionSystem
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache

from fusion_train.config import RunSettings
from fusion_train.examples import Batch
from fusion_train.learner import Learner, Pair
from fusion_train.mixture import MixedBatch, MixedExamples
from fusion_train.prefix import FrozenPrefix
from fusion_train.reading import Reader

MOST_PROMPTS = 64
"""With more prompts than this, each row is read whole: their keys and values would fill the memory."""


class MixedReader(Reader):
    """Runs batches of several prompts through a backbone.

    Args:
        backbone: the model.
        prompts: every prompt of the training.
        captions: the prompt of captions.
        system: what trains; it adds at sites and leaves the backbone as it is.
        settings: the run's settings.

    Raises:
        ConfigError: the settings ask for the frozen prefix, and the backbone cannot be entered in the middle.
    """

    def __init__(
        self,
        backbone: Backbone,
        prompts: Iterable[Prompt],
        captions: Prompt,
        system: FusionSystem,
        settings: RunSettings,
    ) -> None:
        super().__init__(backbone, captions)
        known = {prompt.ids: prompt for prompt in prompts}
        few = len(known) <= MOST_PROMPTS and not settings.gradient_checkpointing
        heard = system.hears_prompt
        self.heads = {ids: PromptHead(backbone, known[ids], frozen=True) for ids in known if few and not heard}
        self.prefixes: dict[tuple[int, ...], FrozenPrefix] = {}
        if settings.frozen_prefix and few and system.first_site > 0:
            self.prefixes = {ids: FrozenPrefix(backbone, known[ids], system.first_site) for ids in known}
        self.acts_from_answer = not heard

    def prepare_texts(self, texts: Iterable[tuple[Prompt, Sequence[int]]]) -> None:
        """Compute what can be known of texts that will be read: prompts and token ids without the end token.

        Raises:
            DataError: the disk is full.
        """
        by_prompt: dict[tuple[int, ...], list[Sequence[int]]] = {}
        for prompt, ids in texts:
            by_prompt.setdefault(prompt.ids, []).append(ids)
        for prompt_ids, captions in by_prompt.items() if self.prefixes else ():
            self.prefixes[prompt_ids].fill(captions)

    def hidden(self, batch: Batch, fusion: FusionContext | None) -> Tensor:
        """Return the last hidden state after the final norm at the positions that predict a token, h_ND."""
        if not isinstance(batch, MixedBatch):
            return super().hidden(batch, fusion)
        past, start = None, 0
        if self.heads:
            past, start = self._past(batch), batch.prompt_length - 1
        elif fusion is not None and self.acts_from_answer:
            fusion = HeardFrom(fusion, batch.prompt_length - 1)
        if self.prefixes:
            split = self._split(batch)
            hidden_BSD = split.hidden(self._stream(batch, start), batch.mask_BS, fusion, past)
        else:
            hidden_BSD = self.backbone.hidden(batch.ids_BS[:, start:], batch.mask_BS, past, fusion)
        return hidden_BSD[batch.labels_BS[:, start:]]

    def _past(self, batch: MixedBatch) -> Any:
        """Return the keys and values of the rows' heads."""
        longest = batch.prompt_length - 1
        rows = [list(self.heads[prompt.ids].past(1)) for prompt in batch.prompts]
        layers = []
        for layer in zip(*rows, strict=True):
            keys = torch.cat([_padded(keys_1HLW, longest) for keys_1HLW, *_ in layer])
            layers.append((keys, torch.cat([_padded(values_1HLW, longest) for _, values_1HLW, *_ in layer])))
        return DynamicCache(layers, config=self.backbone.decoder.config)

    def _split(self, batch: MixedBatch) -> SplitDecoder:
        return self.prefixes[batch.prompts[0].ids].split

    def _stream(self, batch: MixedBatch, start: int) -> Tensor:
        """Return the stream at the first site from a position on, h_BSD; 0 at padding on either side."""
        rows = []
        for row, prompt in enumerate(batch.prompts):
            length = int(batch.mask_BS[row].sum()) - len(prompt.ids)
            text = batch.ids_BS[row, batch.prompt_length : batch.prompt_length + length].tolist()
            missing = batch.prompt_length - len(prompt.ids)
            stream_SD = self.prefixes[prompt.ids].row(text, max(0, start - missing))
            rows.append(functional.pad(stream_SD, (0, 0, max(0, missing - start), 0)))
        return pad_sequence(rows, batch_first=True)


class MixedLearner(Learner):
    """A learner whose texts have prompts of their own."""

    def heard(self, batch: Batch) -> FusionContext:
        """Bind a batch's clips for a call that reads prompts and texts at once."""
        context = self.bind(batch)
        if not isinstance(batch, MixedBatch) or self.system.hears_prompt:
            return context
        return HeardFrom(context, batch.prompt_length - 1)

    def prepare(self, pairs: Iterable[Pair]) -> None:
        """Compute what can be known of texts that will be read."""
        examples, reader = self.examples, self.reader
        if isinstance(examples, MixedExamples) and isinstance(reader, MixedReader):
            reader.prepare_texts((examples.prompts[c][t], examples.tokens[c][t][:-1]) for c, t in pairs)


def _padded(x_1HLW: Tensor, length: int) -> Tensor:
    """Fill up positions on the left with zeros, which are masked."""
    return functional.pad(x_1HLW, (0, 0, length - x_1HLW.shape[2], 0))
