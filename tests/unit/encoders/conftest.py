"""Small audio files and a filled cache, for the tests of the encoders."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

Clips = list[tuple[str, Path, str]]


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype(np.float32)


@pytest.fixture
def make_clips(tmp_path: Path) -> Callable[[int], Clips]:
    """Write that many noises of 0.15 to 0.6 s at 16 kHz, each different, and return (id, path, SHA-256)."""

    def make(count: int) -> Clips:
        folder = tmp_path / "clips"
        folder.mkdir(exist_ok=True)
        clips = []
        for number in range(count):
            path = folder / f"{number:03}.wav"
            soundfile.write(path, noise(2_400 + 700 * (number % 11), seed=number), 16_000, subtype="PCM_16")
            clips.append((f"clip-{number}", path, hashlib.sha256(path.read_bytes()).hexdigest()))
        return clips

    return make


@pytest.fixture(scope="session")
def write_roberta_tokenizer() -> Callable[[Path], None]:
    """Write a tokenizer of bytes with RoBERTa's marks into a folder, as CLAP's text tower wants one."""
    return _write_roberta_tokenizer


def _write_roberta_tokenizer(folder: Path) -> None:
    """Write a byte-level tokenizer with RoBERTa's marks."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    marks = ["<s>", "<pad>", "</s>", "<unk>"]
    vocabulary = {token: index for index, token in enumerate([*marks, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    ).save_pretrained(folder)
