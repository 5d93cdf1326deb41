"""Fixtures that every test may use."""

from __future__ import annotations

import contextlib
import io
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
settings.load_profile("untimed")

Done = subprocess.CompletedProcess[str]
REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_configure() -> None:
    """Answer interrupts: a shell's background jobs inherit that they are ignored, and hand that down to what tests start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared() -> Path:
    """The test data beside the checkout; the test skips where it is absent."""
    folder = REPOSITORY.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("the test data folder ../shared is absent")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tiny models gain nothing from threads, and lose much where another process wants the cores."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def fusion_here() -> Callable[..., Done]:
    """Run the command line in this process, which has imported what takes a new one ten seconds.

    Called with a working folder, whose ``cache`` is the cache, the arguments, and environment variables. What is killed or
    must start from nothing is run as a process of its own instead.
    """

    def run_command(place: Path, *arguments: str, **environment: str) -> Done:
        from fusion_cli.main import run

        out, err, code = io.StringIO(), io.StringIO(), 0
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(place)
            patch.setattr(sys, "argv", ["fusion", *arguments])
            for name, value in {"FUSION_CACHE": str(place / "cache"), **environment}.items():
                patch.setenv(name, value)
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    run()
                except SystemExit as end:
                    code = int(end.code or 0)
        return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())

    return run_command


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


@pytest.fixture(scope="session")
def write_tiny_clap() -> Callable[..., None]:
    """Write a CLAP of transformers' class, of tiny width and random weights, and all that belongs to it into a folder."""
    return _write_tiny_clap


def _write_tiny_clap(folder: Path, fused: bool = False) -> None:
    from transformers import ClapFeatureExtractor

    _tiny_clap(fused).save_pretrained(folder)
    ClapFeatureExtractor(frequency_min=50, truncation="fusion" if fused else "rand_trunc").save_pretrained(folder)
    _write_roberta_tokenizer(folder)


def _tiny_clap(fused: bool) -> Any:
    import torch
    from transformers import ClapAudioConfig, ClapConfig, ClapModel, ClapTextConfig

    audio = ClapAudioConfig(
        patch_embeds_hidden_size=8,
        hidden_size=64,
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 2, 2, 2],
        enable_fusion=fused,
        fusion_type="aff_2d" if fused else None,
    )
    text = ClapTextConfig(
        vocab_size=300,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        hidden_dropout_prob=0.0,
    )
    torch.manual_seed(0)
    model = ClapModel(ClapConfig(text_config=text.to_dict(), audio_config=audio.to_dict(), projection_dim=24)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.15)
            elif name.endswith("bias"):
                parameter.normal_(std=0.05)
    return model
