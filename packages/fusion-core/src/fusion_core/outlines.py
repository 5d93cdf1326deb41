"""Backbones without weights: their shapes alone, on the meta device, for counting parameters and FLOPs.

LLaVA-1.5's language models are Vicuna 7B and 13B (Liu et al., «Improved Baselines with Visual Instruction Tuning», CVPR 2024), with
64 tokens added to LLaMA's vocabulary. The image tower is left out: a clip is captioned without an image.
"""

from __future__ import annotations

from typing import Any

import torch

from fusion_core.backbone import Backbone, BackboneIdentity

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
    """Return a backbone of :data:`OUTLINES` on the meta device; it has no weights and no tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(**OUTLINES[name], attn_implementation="eager", tie_word_embeddings=False)
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    return Backbone(model.to(torch.bfloat16), None, BackboneIdentity(name, "0" * 64))
