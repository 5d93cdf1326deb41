"""CLAP by the package ``laion-clap``, from a checkpoint file of LAION.

The package loads three tokenizers from the hub when it is imported, and RoBERTa when a model is built, which the checkpoint then
overwrites. Neither is wanted here: while it is imported its tokenizers are left out, and RoBERTa is built from its configuration.
Checkpoints are unpickled with ``weights_only`` and an allow-list of the NumPy scalars that stand beside the weights in them. Keys
of data-parallel training lose their prefix; ``position_ids``, which newer versions of transformers do not keep, is dropped.

Shapes: S samples, W windows, T frames a window, A encoder width, B clips or texts, E width of the shared space, L tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from fusion_core.errors import DataError, MissingAssetError
from torch import Tensor

from fusion_encoders.clap_listening import ClapMel, even_windows, fused_views
from fusion_encoders.clap_towers import ClapFacts, roberta_tokenizer

_PATCHES = "audio_branch.patch_embed.proj.weight"
_PROJECTION = "audio_projection.2.weight"
_FUSION = "audio_branch.patch_embed.fusion_model."
_SIZES = {96: "HTSAT-tiny", 128: "HTSAT-base", 256: "HTSAT-large"}
_STAGES_WIDEN = 8
"""Three mergings of patches double the width of the patch embedding each."""
_REPEATS = 32
"""The package repeats each frame this often, back to the rate of its spectrogram."""


def checkpoint_facts(path: Path) -> ClapFacts:
    """Return what the shapes of a checkpoint's tensors say."""
    state = _read_checkpoint(path)
    return ClapFacts(ClapMel(_is_fused(state)), _STAGES_WIDEN * len(state[_PATCHES]), len(state[_PROJECTION]))


class LaionAudioTower:
    """The audio branch of a checkpoint and its projection.

    Raises:
        MissingAssetError: the package is not installed.
        DataError: the file is no checkpoint of LAION-CLAP.
    """

    def __init__(self, path: Path) -> None:
        model = _load_model(path)
        self._branch, self._projection = model.audio_branch, model.audio_projection
        self._mel = ClapMel(fused=bool(self._branch.enable_fusion))

    @torch.no_grad()
    def frames(self, waveform_S: Tensor) -> Tensor:
        """Return the frames x_WTA of each window, the mean over the frequencies of the last block."""
        if self._mel.fused:
            mel_WCNM, longer_W = fused_views(waveform_S, self._mel)
            given = {"mel_fusion": mel_WCNM.contiguous(), "longer": longer_W}
        else:
            given = {"waveform": even_windows(waveform_S)}
        repeated_WTA: Tensor = self._branch(given, device=waveform_S.device)["fine_grained_embedding"]
        return repeated_WTA[:, ::_REPEATS]

    @torch.no_grad()
    def project(self, pooled_BA: Tensor) -> Tensor:
        """Return the vectors e_BE of pooled windows."""
        projected_BE: Tensor = self._projection(pooled_BA)
        return projected_BE


class LaionTextTower:
    """The text branch of a checkpoint, its projection, and RoBERTa's tokenizer.

    Raises:
        MissingAssetError: the package or the tokenizer is not on this machine.
        DataError: the file is no checkpoint of LAION-CLAP.
    """

    def __init__(self, path: Path) -> None:
        self.tokenizer = roberta_tokenizer(
            path.parent,
            lambda repository: (
                f"{path} holds no tokenizer: hf download {repository} tokenizer.json vocab.json merges.txt config.json, or put "
                "RoBERTa's tokenizer.json beside the checkpoint."
            ),
        )
        model = _load_model(path)
        self._branch, self._projection = model.text_branch, model.text_projection

    @torch.no_grad()
    def embed(self, ids_BL: Tensor) -> Tensor:
        """Return the vectors e_BE of texts."""
        pooled_BD = self._branch(input_ids=ids_BL, attention_mask=torch.ones_like(ids_BL))["pooler_output"]
        embedded_BE: Tensor = self._projection(pooled_BD)
        return embedded_BE


def build_model(size: str, fused: bool) -> Any:
    """Return the package's model with random weights, built without the hub.

    Args:
        size: ``HTSAT-tiny``, ``HTSAT-base`` or ``HTSAT-large``.
        fused: whether it is the model with feature fusion.

    Raises:
        MissingAssetError: the package is not installed.
    """
    create_model = _import_create_model()
    with _roberta_from_its_configuration():
        model, _ = create_model(
            size, "roberta", device="cpu", enable_fusion=fused, fusion_type="aff_2d" if fused else "None"
        )
    return model.eval().requires_grad_(False)


def _load_model(path: Path) -> Any:
    state = _read_checkpoint(path)
    size = _SIZES.get(len(state[_PATCHES]))
    if size is None:
        raise DataError(
            f"{path}: a patch embedding of width {len(state[_PATCHES])} is none of LAION's; known are {sorted(_SIZES)}."
        )
    model = build_model(size, _is_fused(state))
    known = model.state_dict()
    kept = {name: tensor for name, tensor in state.items() if name in known or not name.endswith("position_ids")}
    try:
        model.load_state_dict(kept)
    except RuntimeError as error:
        problem = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise DataError(
            f"{path}: not the weights of {size} with RoBERTa ({problem[:160]}); give a checkpoint of LAION-CLAP."
        ) from None
    return model


@lru_cache(maxsize=1)
def _read_checkpoint(path: Path) -> Mapping[str, Tensor]:
    """Return the state dict of a checkpoint, memory-mapped, names without the prefix of data-parallel training.

    Raises:
        DataError: the file is no checkpoint, or wants to run code.
    """
    rebuild_scalar = np.float64(0).__reduce__()[0]
    scalars = [type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64)]
    allowed: list[Any] = [np.dtype, *scalars, (rebuild_scalar, "numpy.core.multiarray.scalar")]
    try:
        with torch.serialization.safe_globals(allowed):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        reason = str(error).splitlines()[0][:160]
        raise DataError(
            f"{path} cannot be read as a checkpoint of weights alone ({reason}); download it again."
        ) from None
    state = content.get("state_dict", content) if isinstance(content, dict) else {}
    named = {name.removeprefix("module."): tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}
    absent = [name for name in (_PATCHES, _PROJECTION) if name not in named]
    if absent:
        raise DataError(
            f"{path} has no tensor {absent[0]}; give a checkpoint of LAION-CLAP with an HTSAT audio branch."
        )
    return named


def _is_fused(state: Mapping[str, Tensor]) -> bool:
    return any(name.startswith(_FUSION) for name in state)


def _import_create_model() -> Any:
    with _without_tokenizers():
        try:
            hook = import_module("laion_clap.hook")
        except ImportError as error:
            raise MissingAssetError(
                f"Checkpoints of LAION need the package laion-clap ({error}): pip install 'fusion-encoders[clap]'."
            ) from None
    return hook.create_model


@contextmanager
def _without_tokenizers() -> Iterator[None]:
    """Let the package be imported without the hub: the tokenizers that it loads for its own training are not made."""
    from transformers import BartTokenizer, BertTokenizer, RobertaTokenizer

    with ExitStack() as stack:
        for tokenizer in {BartTokenizer, BertTokenizer, RobertaTokenizer}:
            stack.enter_context(mock.patch.object(tokenizer, "from_pretrained", return_value=None))
        yield


@contextmanager
def _roberta_from_its_configuration() -> Iterator[None]:
    """Let a model be built without the hub: RoBERTa's weights come from the checkpoint anyway."""
    from transformers import RobertaConfig, RobertaModel

    config = RobertaConfig(vocab_size=50_265, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5)
    with mock.patch.object(RobertaModel, "from_pretrained", side_effect=lambda _: RobertaModel(config)):
        yield
