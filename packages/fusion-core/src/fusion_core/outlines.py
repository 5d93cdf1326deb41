"""Backbones without weights: their shapes alone, on the meta device, for counting parameters and FLOPs.

LLaVA-1.5's language models are Vicuna 7B and 13B (Liu et al., «Improved Baselines with Visual Instruction Tuning», CVPR 2024),
with 64 tokens added to LLaMA's vocabulary; the image tower is CLIP ViT-L/14 at 336 pixels. All of it is frozen and counted so.
"""

from __future__ import annotations

from typing import Any

import torch

from fusion_core.backbone import Backbone, BackboneIdentity
from fusion_core.pretrained import BACKBONES, FAMILIES, SMOLLM2, backbone_folder, load_backbone, vision_family

_VICUNA = {"vocab_size": 32_064, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5}
_TOWER = {
    "model_type": "clip_vision_model",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
    "projection_dim": 768,
}
OUTLINES: dict[str, dict[str, Any]] = {
    "llava-1.5-7b": {
        **_VICUNA,
        "hidden_size": 4096,
        "intermediate_size": 11_008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
    },
    "llava-1.5-13b": {
        **_VICUNA,
        "hidden_size": 5120,
        "intermediate_size": 13_824,
        "num_hidden_layers": 40,
        "num_attention_heads": 40,
    },
}


def outline(name: str) -> Backbone:
    """Return a backbone on the meta device, which has no weights.

    Args:
        name: one of :data:`OUTLINES`, a backbone of :func:`fusion_core.pretrained.load_backbone`, or a folder with config.json.

    Raises:
        MissingAssetError: there is no such backbone on this machine.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, LlavaConfig

    if name in OUTLINES:
        text = {"model_type": "llama", **OUTLINES[name], "tie_word_embeddings": False}
        config = LlavaConfig(vision_config=_TOWER, text_config=text)
        return _seeing(FAMILIES.load("llava"), config, name)
    if name != SMOLLM2 and name in BACKBONES.names():
        backbone = load_backbone(name, torch.bfloat16).to(torch.device("meta"))
        backbone.model.tie_weights()  # moving to the meta device makes a tied head a weight of its own
        backbone.model.set_attn_implementation("eager")
        return backbone
    folder = backbone_folder(name)
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    family = vision_family(folder)
    if family is not None:
        return _seeing(family, config, name)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.bfloat16)
    return Backbone(model, None, BackboneIdentity(name, "0" * 64))


def _seeing(family: Any, config: Any, name: str) -> Backbone:
    backbone: Backbone = family.outline(config, name)
    return backbone
