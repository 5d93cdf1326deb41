"""Questions about images, read by the frozen language model: several about an image in one row, as if each stood alone.

Shapes: B rows, S positions, C tokens of an image, D width, N predicted tokens, V vocabulary.
"""

from __future__ import annotations

import torch
from fusion_core.errors import ConfigError
from fusion_core.prompt import Prompt
from fusion_core.prompt_head import PromptHead
from fusion_core.vision import VisionBackbone
from torch import Tensor

from fusion_train.tiny_vlm.lessons import Page, prompt_head
from fusion_train.visual_questions import VisualQuestion


class AnswerReader:
    """Computes what the model says where answers stand; what precedes the image in the chat prompt is read once for all.

    Args:
        backbone: the model with eyes.
    """

    def __init__(self, backbone: VisionBackbone) -> None:
        ids = backbone.question("?", image=True).ids
        blind = prompt_head(backbone, image=False)
        # What both kinds of prompt begin with; where the shorter one ends there, all of it.
        self.shared = next(
            (i for i, pair in enumerate(zip(ids, blind, strict=False)) if len(set(pair)) > 1), len(blind)
        )
        self.backbone = backbone
        self.head = PromptHead(backbone, Prompt("", ids[: self.shared + 1], unheard=self.shared), frozen=True)

    def logits(self, page: Page, tokens_BCD: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the logits of the tokens of all answers, row by row, and these tokens: (N, V) and (N,).

        Args:
            page: rows with an image each, or rows without any.
            tokens_BCD: the tokens of the images; None for rows without.
        """
        backbone = self.backbone
        ids_BS = page.ids_BS[:, self.shared :]
        words_BSD = (
            backbone.model.get_input_embeddings()(ids_BS) if tokens_BCD is None else backbone.embed(ids_BS, tokens_BCD)
        )
        sees_B1SS = page.sees_B1SS[:, :, self.shared :]
        hidden_BSD = backbone.decoder(
            inputs_embeds=words_BSD,
            attention_mask=torch.zeros(sees_B1SS.shape, dtype=words_BSD.dtype).masked_fill(
                ~sees_B1SS, torch.finfo(words_BSD.dtype).min
            ),
            position_ids=page.positions_BS[:, self.shared :],
            past_key_values=self.head.past(len(ids_BS)),
            use_cache=True,
        ).last_hidden_state
        targets_BS = page.targets_BS[:, self.shared :]
        asked_BS = targets_BS >= 0
        return backbone.logits(hidden_BSD[asked_BS]).float(), targets_BS[asked_BS]


def option_tokens(backbone: VisionBackbone, question: VisualQuestion) -> list[int]:
    """Return the first token of each option, by which options are told apart.

    Raises:
        ConfigError: two options begin alike.
    """
    first = [int(backbone.tokenizer(option, add_special_tokens=False)["input_ids"][0]) for option in question.options]
    if len(set(first)) < len(first):
        raise ConfigError(f"{question.text!r}: two options begin with the same token; give options that do not.")
    return first
