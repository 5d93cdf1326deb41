"""A random Llama of 8 blocks and width 32 with a tokenizer of bytes: for tests, the same on every machine."""

from __future__ import annotations

import hashlib
from typing import Any

import torch

from fusion_core.attention import attention
from fusion_core.backbone import Backbone, BackboneIdentity
from fusion_core.pretrained import TINY


def load_tiny_random(dtype: torch.dtype) -> Backbone:
    """Build the model; it is not stored anywhere."""
    from safetensors.torch import save
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = byte_tokenizer()
    config = LlamaConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=8,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        vocab_size=len(tokenizer),
        max_position_embeddings=512,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
        initializer_range=0.2,
        attn_implementation=attention("llama"),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    tensors = {name: value.contiguous() for name, value in model.state_dict().items() if name != "lm_head.weight"}
    return Backbone(model.to(dtype), tokenizer, BackboneIdentity(TINY, hashlib.sha256(save(tensors)).hexdigest()))


def byte_tokenizer() -> Any:
    """Return a tokenizer whose tokens are bytes and three marks, with a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    marks = ["<|pad|>", "<|start|>", "<|end|>"]
    vocabulary = {token: index for index, token in enumerate([*marks, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=marks[0],
        bos_token=marks[1],
        eos_token=marks[2],
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = (
        "{% for message in messages %}<|start|>{{ message['content'] }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}<|start|>{% endif %}"
    )
    return fast
