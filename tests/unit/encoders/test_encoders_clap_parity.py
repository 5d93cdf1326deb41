"""CLAP at its real size with random weights: transformers' classes and laion-clap give equal features for equal weights."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fusion_encoders.clap import ClapEncoder, ClapTextEncoder
from torch import Tensor

# laion-clap loads tokenizers from the hub when it is imported: look for it without importing it.
pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_spec("laion_clap") is None, reason="laion-clap is an extra")]

NAMES = {
    "text_branch": "text_model",
    "audio_branch": "audio_model.audio_encoder",
    "attn": "attention.self",
    "self.proj": "output.dense",
    "attention.self_mask": "attn_mask",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "bn0": "batch_norm",
    "_projection.0": "_projection.linear1",
    "_projection.2": "_projection.linear2",
}
LEFT_OUT = re.compile(r"_transform\.|spectrogram_extractor|logmel_extractor|tscam_conv|audio_branch\.head")


def to_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return LAION's state dict under transformers' names."""
    found = {}
    for name, tensor in state.items():
        if LEFT_OUT.search(name):
            continue
        if "audio" in name:
            for theirs, ours in NAMES.items():
                name = name.replace(theirs, ours)
        else:
            name = name.replace("text_branch", "text_model").replace("n.0", "n.linear1").replace("n.2", "n.linear2")
        if "qkv" in name:
            for part, rows in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                found[name.replace("qkv", part)] = rows.clone()
        else:
            found[name] = tensor
    return found


def random_state(fused: bool, text: bool) -> dict[str, Tensor]:
    """Return random weights of LAION's class at its real size; without ``text`` those of the text branch are one number each."""
    from fusion_encoders.clap_laion import build_model

    generator = torch.Generator().manual_seed(0)
    state = dict(build_model("HTSAT-tiny", fused).state_dict())
    for name, tensor in state.items():
        if not text and name.startswith("text_branch"):
            state[name] = torch.zeros(1, dtype=tensor.dtype).expand(tensor.shape)
        elif name.endswith("running_var") or (tensor.ndim == 1 and name.endswith("weight")):
            state[name] = 0.8 + 0.4 * torch.rand(tensor.shape, generator=generator)
        elif tensor.is_floating_point() and "extractor" not in name and "attn_mask" not in name:
            state[name] = 0.03 * torch.randn(tensor.shape, generator=generator)
    return state


def write_both(folder: Path, fused: bool, write_tokenizer: Callable[[Path], None]) -> tuple[Path, Path]:
    """Write the same weights as a checkpoint of LAION, as training leaves it, and as a folder of transformers.

    The text towers are real for the unfused model alone.
    """
    from transformers import ClapAudioConfig, ClapConfig, ClapFeatureExtractor, ClapModel, ClapTextConfig

    text = not fused
    state = random_state(fused, text)
    kept = {f"module.{name}": tensor for name, tensor in state.items()}
    kept["module.text_branch.embeddings.position_ids"] = torch.arange(514)[None]
    checkpoint = folder / "checkpoint" / "epoch_1.pt"
    checkpoint.parent.mkdir()
    torch.save({"epoch": 1, "score": np.float64(0.5), "state_dict": kept}, checkpoint)
    write_tokenizer(checkpoint.parent)
    small = {} if text else {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 300}
    config = ClapConfig(
        text_config=ClapTextConfig(layer_norm_eps=1e-5, **small).to_dict(),
        audio_config=ClapAudioConfig(enable_fusion=fused, fusion_type="aff_2d" if fused else None).to_dict(),
    )
    with torch.device("meta"):
        model = ClapModel(config)
    named = {name: tensor for name, tensor in to_transformers(state).items() if text or not name.startswith("text_")}
    named |= {name: torch.zeros(()) for name in ("logit_scale_a", "logit_scale_t")}
    if text:
        places = torch.arange(514)[None]
        buffers = {"position_ids": places, "token_type_ids": torch.zeros_like(places)}
        named |= {f"text_model.embeddings.{name}": tensor for name, tensor in buffers.items()}
    else:
        small_model = ClapModel(config)
        named |= {name: tensor for name, tensor in small_model.state_dict().items() if name.startswith("text_")}
    result: Any = model.load_state_dict(named, strict=False, assign=True)
    assert not [name for name in result.missing_keys if not name.endswith("relative_position_index")], (
        result.missing_keys
    )
    assert not [name for name in result.unexpected_keys if "attn_mask" not in name], result.unexpected_keys
    model.save_pretrained(folder / "transformers")
    ClapFeatureExtractor(frequency_min=50, truncation="fusion" if fused else "rand_trunc").save_pretrained(
        folder / "transformers"
    )
    write_tokenizer(folder / "transformers")
    return checkpoint, folder / "transformers"


def noise(seconds: float) -> Tensor:
    return 0.2 * torch.randn(round(seconds * 48_000), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("fused", [False, True], ids=["unfused", "fused"])
def test_both_loaders_give_equal_features_for_equal_weights(
    tmp_path: Path, fused: bool, write_roberta_tokenizer: Callable[[Path], None]
) -> None:
    checkpoint, folder = write_both(tmp_path, fused, write_roberta_tokenizer)
    laion, ours = ClapEncoder(str(checkpoint)), ClapEncoder(str(folder))
    assert laion.width == ours.width == 768
    for seconds in (2.0, 12.0) if fused else (2.0,):
        theirs, mine = laion.encode(noise(seconds)), ours.encode(noise(seconds))
        assert theirs.shape == mine.shape == (32, 768)
        torch.testing.assert_close(mine, theirs, atol=2e-3, rtol=1e-3)
        assert float(laion.pooled(theirs) @ ours.pooled(mine)) == pytest.approx(1.0, abs=1e-5)
        assert torch.equal(laion.encode(noise(seconds)), theirs)
    if not fused:
        texts = ["a dog barks", "rain falls"]
        by_laion, by_transformers = (ClapTextEncoder(str(path)).encode(texts) for path in (checkpoint, folder))
        torch.testing.assert_close(by_transformers, by_laion, atol=1e-5, rtol=1e-4)
        own = own_embedding(laion.tower, noise(2.0))
        torch.testing.assert_close(laion.pooled(laion.encode(noise(2.0))), own, atol=1e-5, rtol=1e-4)


def own_embedding(tower: Any, waveform: Tensor) -> Tensor:
    """Return the embedding that laion-clap makes of a short clip by its own preprocessing and pooling."""
    from laion_clap.training.data import get_audio_features

    sample = get_audio_features({}, waveform, 480_000, "rand_trunc", "repeatpad", {})
    with torch.no_grad():
        pooled = tower._branch({"waveform": sample["waveform"][None]}, device="cpu")["embedding"]
        return torch.nn.functional.normalize(tower._projection(pooled), dim=-1)[0]
