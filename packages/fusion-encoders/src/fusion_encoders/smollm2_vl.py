"""SmolLM2 with eyes: the frozen cells of EfficientNet-Lite0 become 29 tokens of the chat prompt, before the question.

The construction is LLaVA's (Liu et al., «Visual Instruction Tuning», NeurIPS 2023): image encoder and language model stay as they
are, and what is between them is trained. ``fusion backbone build smollm2-vl`` trains it; from then on it is
frozen too. One such build comes with the package.

Shapes: B images, I tokens of an image, A width of the cells, D width of the language model, H and W pixels.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from fusion_core.attention import attention
from fusion_core.backbone import Backbone, BackboneIdentity
from fusion_core.errors import DataError, MissingAssetError
from fusion_core.files import cache_dir, sha256_file
from fusion_core.freeze import freeze
from fusion_core.pretrained import PROVENANCE_FILE, smollm2_folder
from fusion_core.vision import VisionBackbone
from safetensors.torch import load_file
from torch import Tensor

from fusion_encoders.base import sha256_of_settings
from fusion_encoders.efficientnet import EfficientNetLite0
from fusion_encoders.image_projector import ImageProjector, ImageProjectorSettings
from fusion_encoders.precision import Precision

NAME = "smollm2-vl"
PROJECTOR_FILE = "projector.safetensors"
CARD_FILE = "card.json"
SHIPPED_FOLDER = Path(__file__).parent / "weights" / NAME
"""Eyes that ``fusion backbone build smollm2-vl`` made, so that every machine asks the same model; the card has their scores."""
ENCODER_PRECISION: Precision = "float32"
"""The same on every machine, so that the model is the same too."""
BUILD_COMMAND = "fusion backbone build smollm2-vl"
IMAGE_TOKEN = "<empty_output>"
"""A token of the vocabulary that no prompt has: tokens of an image stand in its place, so tokenizer and weights are untouched."""


class SmolLM2VL(VisionBackbone):
    """SmolLM2-135M-Instruct behind EfficientNet-Lite0 and a projector, every part frozen.

    Args:
        language: the language model of transformers.
        tokenizer: its tokenizer.
        identity: name and hash of all three parts.
        language_sha256: hash of the language model's weights alone, by which a run that was trained on it is recognised.
        encoder: gives the cells.
        projector: makes tokens of them.
    """

    image_size = EfficientNetLite0.preprocessing.side

    def __init__(
        self,
        language: Any,
        tokenizer: Any,
        identity: BackboneIdentity,
        language_sha256: str,
        encoder: EfficientNetLite0,
        projector: ImageProjector,
    ) -> None:
        super().__init__(language, tokenizer, identity)
        self.language_sha256 = language_sha256
        self.encoder = encoder
        self.projector = projector
        freeze(projector)
        self.image_tokens = projector.settings.tokens
        self.image_token_id = int(tokenizer.convert_tokens_to_ids(IMAGE_TOKEN))

    def to(self, device: torch.device) -> Backbone:
        """Move the language model and the projector to a device; cells are computed on the CPU."""
        self.projector.to(device)
        return super().to(device)

    @torch.no_grad()
    def embed_images(self, pixels_B3HW: Tensor) -> Tensor:
        """Return what the images put into the prompt, e_BID."""
        x_BCA = self.encoder.encode(pixels_B3HW)
        e_BID: Tensor = self.projector(x_BCA.to(self.device))
        return e_BID

    def ask(self, question: str, image: bool) -> str:
        """Return the text of the chat prompt for a question, the image tokens spelt out where there is an image."""
        return self.chat(f"{IMAGE_TOKEN * self.image_tokens}\n{question}" if image else question)


def load_smollm2_vl(dtype: torch.dtype) -> SmolLM2VL:
    """Load the model with the eyes that were built on this machine, or else with those that come with the package.

    Raises:
        DataError: the projector is not the one that its card names.
        MissingAssetError: the weights of a part are not installed, or are not those that the eyes were trained between.
    """
    encoder = EfficientNetLite0(ENCODER_PRECISION)
    settings = ImageProjectorSettings()
    folder = _eyes_folder(encoder, settings)
    projector_sha256 = sha256_file(folder / PROJECTOR_FILE)
    if _read_card(folder)["projector_sha256"] != projector_sha256:
        raise DataError(f"{folder / PROJECTOR_FILE} is not what its card names: {BUILD_COMMAND} --again.")
    projector = ImageProjector(settings)
    projector.load_state_dict(load_file(folder / PROJECTOR_FILE))
    return with_eyes(encoder, projector, projector_sha256, dtype)


def _eyes_folder(encoder: EfficientNetLite0, settings: ImageProjectorSettings) -> Path:
    """Return the folder of the eyes that were trained between the parts that are installed."""
    built = projector_folder(encoder, settings)
    if (built / CARD_FILE).is_file():
        return built
    card = _read_card(SHIPPED_FOLDER)
    shipped = {
        "language": card["language_sha256"],
        "encoder": card["encoder_fingerprint"],
        "projector": card["projector"],
    }
    if shipped != eyes_parts(encoder, settings):
        raise MissingAssetError(
            f"The eyes that come with the package belong to another SmolLM2 or EfficientNet: {BUILD_COMMAND}."
        )
    return SHIPPED_FOLDER


def _read_card(folder: Path) -> dict[str, Any]:
    card: dict[str, Any] = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
    return card


def with_eyes(
    encoder: EfficientNetLite0, projector: ImageProjector, projector_sha256: str, dtype: torch.dtype
) -> SmolLM2VL:
    """Load SmolLM2 and put eyes before it.

    Raises:
        MissingAssetError: the weights of SmolLM2 are not on this machine.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    folder = smollm2_folder()
    language = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, attn_implementation=attention("llama"), local_files_only=True, use_safetensors=True
    )
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    language_sha256 = smollm2_sha256()
    parts = {"language": language_sha256, "encoder": encoder.fingerprint(), "projector": projector_sha256}
    identity = BackboneIdentity(NAME, sha256_of_settings(parts))
    return SmolLM2VL(language, tokenizer, identity, language_sha256, encoder, projector)


def smollm2_sha256() -> str:
    """Return the hash of the language model's weights.

    Raises:
        MissingAssetError: they are not on this machine.
    """
    provenance = json.loads((smollm2_folder() / PROVENANCE_FILE).read_text(encoding="utf-8"))
    return str(provenance["weights_sha256"])


def eyes_parts(encoder: EfficientNetLite0, settings: ImageProjectorSettings) -> dict[str, Any]:
    """Return what the eyes are trained between, by which they are told apart: two hashes and the shape of the projector.

    Raises:
        MissingAssetError: the weights of SmolLM2 are not on this machine.
    """
    return {"language": smollm2_sha256(), "encoder": encoder.fingerprint(), "projector": asdict(settings)}


def projector_folder(encoder: EfficientNetLite0, settings: ImageProjectorSettings) -> Path:
    """Return the place in the user's cache of a projector between this encoder and SmolLM2.

    Raises:
        MissingAssetError: the weights of SmolLM2 are not on this machine.
    """
    return cache_dir() / "backbones" / f"{NAME}-{sha256_of_settings(eyes_parts(encoder, settings))[:12]}"
