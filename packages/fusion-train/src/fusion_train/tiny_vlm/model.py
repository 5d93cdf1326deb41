"""The untrained tiny-vlm, and how it is stored: transformers' own LLaVA with few and narrow blocks.

Shapes: I cells of an image (its tokens), D width.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from fusion_core.attention import attention
from fusion_core.backbone import BackboneIdentity
from fusion_core.images import ImagePreprocessing
from fusion_core.llava import PROCESSOR_FILES, LlavaBackbone
from fusion_core.pretrained import TINY_VLM
from torch import Tensor

GRID = 5  # cells a side; two objects of a scene never have their centres in one cell, being at least 0.21 apart
PATCH = 10  # pixels a side of a cell
SIDE = GRID * PATCH
WIDTH = 96
_MEAN, _DEVIATION = 0.5, 0.25
_INITIAL = 0.05  # standard deviation of the first embeddings


def preprocessing() -> ImagePreprocessing:
    """Return what is done to an image."""
    return ImagePreprocessing(SIDE, SIDE, (_MEAN,) * 3, (_DEVIATION,) * 3)


def untrained_model(tokenizer: Any, seed: int) -> Any:
    """Return a ``LlavaForConditionalGeneration`` of 8 blocks with random weights; the tower's positions start as waves."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    vision = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        projection_dim=WIDTH,
        image_size=SIDE,
        patch_size=PATCH,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=192,
        num_hidden_layers=8,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=WIDTH // 4,
        max_position_embeddings=512,
        initializer_range=_INITIAL,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=GRID**2,
        vision_feature_layer=-1,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = LlavaForConditionalGeneration._from_config(config, attn_implementation=attention())
    positions = model.model.vision_tower.get_submodule("embeddings.position_embedding")
    with torch.no_grad():
        positions.weight[1:] = _waves(GRID, WIDTH)
    return model


def _waves(side: int, width: int) -> Tensor:
    """Return sines and cosines of row and column, e_ID: cells that lie alike are alike from the start (He et al., CVPR 2022)."""
    rates = 2 * torch.logspace(0, -2, width // 4)
    place = torch.arange(side, dtype=torch.float32)[:, None] * rates
    axis = torch.cat([place.sin(), place.cos()], dim=1)
    rows, columns = axis[:, None].expand(-1, side, -1), axis[None].expand(side, -1, -1)
    return torch.cat([rows, columns], dim=-1).flatten(0, 1)


def as_backbone(model: Any, tokenizer: Any, weights_sha256: str = "0" * 64) -> LlavaBackbone:
    """Return a model as fusion sees it: frozen."""
    return LlavaBackbone(model, tokenizer, BackboneIdentity(TINY_VLM, weights_sha256), preprocessing())


def save_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a model in transformers' layout, its weights in fp16."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    image_processor = {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": SIDE},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": SIDE, "width": SIDE},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [_MEAN] * 3,
        "image_std": [_DEVIATION] * 3,
        "do_convert_rgb": True,
    }
    processor = {
        "processor_class": "LlavaProcessor",
        "image_processor": image_processor,
        "image_token": "<image>",
        "patch_size": PATCH,
        "num_additional_image_tokens": 1,
        "vision_feature_select_strategy": "default",
    }
    (folder / PROCESSOR_FILES[0]).write_text(json.dumps(processor, indent=2), encoding="utf-8")
