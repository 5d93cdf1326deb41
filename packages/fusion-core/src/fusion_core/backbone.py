"""A frozen language model, as fusion systems see it: blocks, width, prompt, residual stream, logits.

Shapes: B batch, S text positions, I tokens of an image, D width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fusion_core.context import FusionContext
from fusion_core.errors import ConfigError
from fusion_core.freeze import freeze
from fusion_core.prompt import Prompt

INSTRUCTION = "Describe the sound."
SLOT_TEXT = " ..."  # an ordinary word piece that stands where slot placement adds an audio token


def _enter_block(
    block: int, module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Hand the residual stream to the call's context, and keep the context from the block itself."""
    if "fusion" not in keywords:
        return None
    keywords = dict(keywords)
    context: FusionContext | None = keywords.pop("fusion")
    if context is not None:
        arguments = (context.enter_block(block, arguments[0]), *arguments[1:])
    return arguments, keywords


@dataclass(frozen=True)
class BackboneIdentity:
    """What a run card says of a backbone.

    Attributes:
        name: the name by which it was loaded.
        weights_sha256: hash of the weights as stored.
    """

    name: str
    weights_sha256: str


class Backbone:
    """A frozen causal language model of transformers with its tokenizer.

    Nothing is added to the model's state: its state-dict keys and, with no context bound, its outputs are those of the
    untouched model, bit for bit.

    Args:
        model: any transformers model with ``get_decoder`` and ``get_output_embeddings``, whose decoder passes keyword
            arguments on to its blocks.
        tokenizer: its tokenizer; it needs a chat template.
        identity: name and weight hash.
    """

    def __init__(self, model: Any, tokenizer: Any, identity: BackboneIdentity) -> None:
        self.model: Any = freeze(model)
        self.tokenizer = tokenizer
        self.identity = identity
        self.decoder = model.get_decoder()
        self.blocks: nn.ModuleList = self.decoder.layers
        self._holder: Any = None
        for index, block in enumerate(self.blocks):
            block.register_forward_pre_hook(partial(_enter_block, index), with_kwargs=True)

    @property
    def width(self) -> int:
        """D, the width of the residual stream."""
        return int(self.decoder.config.hidden_size)

    @property
    def depth(self) -> int:
        """The number of decoder blocks."""
        return len(self.blocks)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self.model.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """The type in which the frozen weights compute."""
        dtype: torch.dtype = self.model.dtype
        return dtype

    @property
    def end_id(self) -> int:
        """The token that ends an answer."""
        return int(self.tokenizer.eos_token_id)

    @property
    def pad_id(self) -> int:
        """The token that fills up a batch; it is always masked."""
        pad = self.tokenizer.pad_token_id
        return int(self.end_id if pad is None else pad)

    def to(self, device: torch.device) -> Backbone:
        """Move the weights to a device and return this backbone."""
        self.model.to(device)
        return self

    @property
    def blocks_path(self) -> str:
        """The name of the decoder's list of blocks within the model, such as ``model.layers``."""
        path: str = next(name for name, module in self.model.named_modules() if module is self.blocks)
        return path

    def hold(self, system: Any) -> None:
        """Reserve this backbone for a system that changes how it computes.

        Raises:
            ConfigError: another system holds it.
        """
        if self._holder is not system:
            self.require_untouched()
        self._holder = system

    def release(self, system: Any) -> None:
        """Give a backbone back that :meth:`hold` reserved."""
        if self._holder is system:
            self._holder = None

    def require_untouched(self) -> None:
        """Raise ConfigError where a system has changed how the backbone computes."""
        if self._holder is not None:
            raise ConfigError(
                f"The backbone {self.identity.name} is attached to {self._holder.name!r}; detach that system first."
            )

    def prompt(self, instruction: str = INSTRUCTION, slots: int = 0, heard: bool = True) -> Prompt:
        """Return the backbone's own chat prompt for an instruction.

        Args:
            instruction: what the user asks.
            slots: K placeholder tokens before the instruction, for slot placement.
            heard: whether all of it is read with audio, or its last token alone.
        """
        return self._prompt(self.chat(instruction), instruction, slots, heard)

    def chat(self, instruction: str) -> str:
        """Return the text of the backbone's own chat prompt for an instruction."""
        text: str = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": instruction}], tokenize=False, add_generation_prompt=True
        )
        return text

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a prompt, or of its first part."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _prompt(self, text: str, instruction: str, slots: int, heard: bool) -> Prompt:
        """Return a prompt whose slots stand before the instruction."""
        if not slots:
            ids = tuple(self.encode(text))
            return Prompt(text, ids, unheard=0 if heard else len(ids) - 1)
        head, _, tail = text.partition(instruction)
        head_ids = self.encode(head)
        slot_id = self.tokenizer(SLOT_TEXT, add_special_tokens=False)["input_ids"][0]
        tail_ids = self.tokenizer(instruction + tail, add_special_tokens=False)["input_ids"]
        positions = tuple(range(len(head_ids), len(head_ids) + slots))
        return Prompt(text, (*head_ids, *[slot_id] * slots, *tail_ids), positions)

    def hidden(
        self,
        ids_BS: Tensor,
        mask_BS: Tensor | None = None,
        cache: Any = None,
        fusion: FusionContext | None = None,
        images_BID: Tensor | None = None,
    ) -> Tensor:
        """Run the decoder and return its last hidden state after the final norm, h_BSD.

        Args:
            ids_BS: token ids of this call.
            mask_BS: 1 where a token is real, over cached and new positions; padding goes left for decoding.
            cache: a transformers ``Cache`` that the call extends, or None.
            fusion: the modality bound to this call, or None.
            images_BID: what stands in the place of the image tokens among ``ids_BS``; None where there are none.

        Raises:
            ConfigError: an image is given to a backbone that has no eyes, or to a prompt that has no place for it.
        """
        keywords: dict[str, Any] = {} if fusion is None else {"fusion": fusion}
        if images_BID is None:
            keywords["input_ids"] = ids_BS
        else:
            keywords["inputs_embeds"] = self.embed(ids_BS, images_BID)
        output = self.decoder(
            attention_mask=mask_BS,
            position_ids=position_ids(mask_BS, ids_BS.shape[1]),
            past_key_values=cache,
            use_cache=cache is not None,
            **keywords,
        )
        hidden: Tensor = output.last_hidden_state
        return hidden

    def embed(self, ids_BS: Tensor, images_BID: Tensor) -> Tensor:
        """Return the embeddings of a call with images in it, e_BSD.

        Raises:
            ConfigError: this backbone has no eyes, or the prompts have no place for the images.
        """
        raise ConfigError(f"The backbone {self.identity.name} sees no images; give one that does, such as tiny-vlm.")

    def logits(self, hidden: Tensor) -> Tensor:
        """Return logits over the vocabulary, (…, D) -> (…, V); call it only where a token is predicted."""
        logits: Tensor = self.model.get_output_embeddings()(hidden)
        return logits

    @torch.no_grad()
    def residual_rms(self, sites: tuple[int, ...], prompt: Prompt) -> dict[int, float]:
        """Measure the median RMS of the residual stream at the entrance of each site, on the bare prompt.

        Position 0 is left out: it is the attention sink, whose activations are far larger than the rest.

        Raises:
            ConfigError: a system is attached, so the backbone is not the frozen one.
        """
        self.require_untouched()
        recorder = ResidualRecorder(sites)
        self.hidden(torch.tensor([prompt.ids], device=self.device), fusion=recorder)
        return {
            site: float(h_BSD[0, 1:].float().square().mean(dim=-1).sqrt().median())
            for site, h_BSD in recorder.streams.items()
        }


class ResidualRecorder:
    """A context that adds nothing and keeps the stream at the entrance of some blocks.

    Attributes:
        streams: h_BSD by block.
    """

    def __init__(self, blocks: tuple[int, ...]) -> None:
        self.blocks = blocks
        self.streams: dict[int, Tensor] = {}

    def enter_block(self, block: int, h_BSD: Tensor) -> Tensor:
        """Keep the stream, and return it as it is."""
        if block in self.blocks:
            self.streams[block] = h_BSD
        return h_BSD


def position_ids(mask_BS: Tensor | None, length: int) -> Tensor | None:
    """Return the positions of the last ``length`` tokens, counting real tokens alone; None without a mask."""
    if mask_BS is None:
        return None
    return (mask_BS.long().cumsum(dim=1) - 1).clamp_min(0)[:, -length:]
