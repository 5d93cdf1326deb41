"""Backbones without weights: their shapes alone, on the meta device, for counting parameters and FLOPs.

LLaVA-1.5's language models are Vicuna 7B and 13B (Liu et al., «Improved Baselines with Visual Instruction Tuning», CVPR 2024),
with 64 tokens added to LLaMA's vocabulary. The image tower is left out: a clip is captioned without an image.
"""

from __future__ import annotations

from typing import Any

import torch

from fusion_core.backbone import Backbone, BackboneIdentity
from fusion_core.pretrained import TINY, backbone_folder, load_backbone

_VICUNA = {"vocab_size": 32_064, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5}
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
    """Return a backbone on the meta device, which has no weights and no tokenizer.

    Args:
        name: one of :data:`OUTLINES`, a backbone of :func:`fusion_core.pretrained.load_backbone`, or a folder with config.json.

    Raises:
        MissingAssetError: there is no such backbone on this machine.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig

    if name in OUTLINES:
        config = LlamaConfig(**OUTLINES[name], tie_word_embeddings=False)
    elif name == TINY:
        config = load_backbone(name).model.config
    else:
        config = AutoConfig.from_pretrained(backbone_folder(name), local_files_only=True)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.bfloat16)
    return Backbone(model, None, BackboneIdentity(name, "0" * 64))
