"""LLaVA-1.5: CLIP's patch features, through two linear layers, as tokens of the prompt of a language model.

Liu et al., «Improved Baselines with Visual Instruction Tuning», CVPR 2024. The model is transformers' own
``LlavaForConditionalGeneration`` with its chat template, the pixels are prepared as by its processor.

Shapes: B batch, I tokens of an image, D backbone width, H and W pixels.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from fusion_core.attention import attention
from fusion_core.backbone import BackboneIdentity
from fusion_core.errors import DataError
from fusion_core.images import ImagePreprocessing
from fusion_core.vision import VisionBackbone

PROCESSOR_FILES = (
    "processor_config.json",
    "preprocessor_config.json",
)  # newer versions of transformers write the first
TEMPLATE_FILE = "chat_template.json"  # older ones keep the template here, newer ones with the tokenizer


class LlavaBackbone(VisionBackbone):
    """A LLaVA, every part of it frozen.

    Args:
        model: a ``LlavaForConditionalGeneration``.
        tokenizer: its tokenizer, with the chat template of the processor; None on the meta device.
        identity: name and weight hash.
        preprocessing: what its processor does to images; None on the meta device.
    """

    def __init__(
        self, model: Any, tokenizer: Any, identity: BackboneIdentity, preprocessing: ImagePreprocessing | None = None
    ) -> None:
        super().__init__(model, tokenizer, identity)
        config = model.config
        self.preprocessing = preprocessing
        self.image_token_id = int(config.image_token_id)
        self.image_size = int(config.vision_config.image_size)
        cells = (self.image_size // int(config.vision_config.patch_size)) ** 2
        self.image_tokens = cells if config.vision_feature_select_strategy == "default" else cells + 1

    @classmethod
    def from_folder(cls, folder: Path, identity: BackboneIdentity, dtype: torch.dtype) -> Self:
        """Load the model that transformers stored in a folder.

        Raises:
            DataError: the folder says nothing of the images or has no chat template.
        """
        from transformers import AutoTokenizer, LlavaForConditionalGeneration

        preprocessing = read_preprocessing(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        if tokenizer.chat_template is None:
            tokenizer.chat_template = _read_template(folder)
        model = LlavaForConditionalGeneration.from_pretrained(
            folder, dtype=dtype, attn_implementation=attention(), local_files_only=True, use_safetensors=True
        )
        return cls(model, tokenizer, identity, preprocessing)

    @classmethod
    def outline(cls, config: Any, name: str) -> Self:
        """Return the model of a configuration on the meta device, without weights and tokenizer."""
        from transformers import LlavaForConditionalGeneration

        with torch.device("meta"):
            model = LlavaForConditionalGeneration._from_config(
                config, attn_implementation="eager", dtype=torch.bfloat16
            )
        return cls(model, None, BackboneIdentity(name, "0" * 64))

    @torch.no_grad()
    def embed_images(self, pixels_B3HW: Tensor) -> Tensor:
        """Return what the images put into the prompt, e_BID."""
        if self.preprocessing is None:
            raise DataError(f"{self.identity.name}: an outline has no image processor; load the weights.")
        x_B3HW = self.preprocessing.prepare(pixels_B3HW).to(self.device, self.dtype)
        features: list[Tensor] = self.model.get_image_features(pixel_values=x_B3HW).pooler_output
        return torch.stack(features)

    def chat(self, instruction: str) -> str:
        """Return the text of the chat prompt for an instruction without an image."""
        return self.ask(instruction, image=False)

    def ask(self, question: str, image: bool) -> str:
        """Return the text of the chat prompt for a question, the I image tokens spelt out where there is an image."""
        parts = [{"type": "image"}] if image else []
        messages = [{"role": "user", "content": [*parts, {"type": "text", "text": question}]}]
        text: str = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        mark: str = self.tokenizer.convert_ids_to_tokens(self.image_token_id)
        return text.replace(mark, mark * self.image_tokens)

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a prompt, or of its first part; the tokenizer's own first token goes before it."""
        ids: list[int] = self.tokenizer(text)["input_ids"]
        return ids


def read_preprocessing(folder: Path) -> ImagePreprocessing:
    """Return what the stored processor of a model does to images.

    Raises:
        DataError: no file says it, or it is no processor of CLIP's kind.
    """
    path = next((folder / name for name in PROCESSOR_FILES if (folder / name).is_file()), None)
    if path is None:
        raise DataError(f"{folder}: {' or '.join(PROCESSOR_FILES)} is missing; save the model's processor here.")
    settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    try:
        return ImagePreprocessing.from_settings(settings.get("image_processor", settings))
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: not the image processor of a CLIP ({error} is missing or strange).") from None


def _read_template(folder: Path) -> str:
    """Return the chat template of a folder of an older version.

    Raises:
        DataError: there is none.
    """
    path = folder / TEMPLATE_FILE
    if not path.is_file():
        raise DataError(f"{folder}: the model has no chat template; save its processor here, which has one.")
    template: str = json.loads(path.read_text(encoding="utf-8"))["chat_template"]
    return template
