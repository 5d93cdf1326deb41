"""The frozen prefix: the residual stream below the first site, computed once a caption and kept on disk.

What lies below the first site is frozen and hears nothing, so it depends on the text alone: the prompt is run once a run, each
caption once after it, and a training step begins at the first site. The streams lie memory-mapped in one folder a backbone
(weights, type, device, prompt, block); an interrupted fill goes on where it stood.

Shapes: B batch, S text positions, D backbone width; P positions of the prompt, C of a caption.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fusion_core.backbone import Backbone
from fusion_core.files import cache_dir
from fusion_core.progress import track
from fusion_core.prompt import Prompt
from fusion_core.split import SplitDecoder
from fusion_encoders.base import canonical_json
from fusion_encoders.feature_store import FeatureStore
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache

from fusion_train.examples import Batch

CAPTIONS_AT_ONCE = 64
_STORED_AS: dict[torch.dtype, np.dtype[Any]] = {
    torch.bfloat16: np.dtype("<i2"),
    torch.float16: np.dtype("<f2"),
    torch.float32: np.dtype("<f4"),
}


class FrozenPrefix:
    """The streams of captions at the entrance of one block.

    Args:
        backbone: the frozen model, untouched.
        prompt: what stands before each caption.
        block: the first site.
        root: the folder that holds one folder a backbone; by default ``prefixes`` in the user's cache.

    Raises:
        ConfigError: the decoder cannot be entered at that block.
    """

    def __init__(self, backbone: Backbone, prompt: Prompt, block: int, root: Path | None = None) -> None:
        self.split = SplitDecoder(backbone, block)
        self.backbone = backbone
        self.prompt = prompt
        identity = {
            "schema": "fusion.prefix/1",
            "backbone": backbone.identity.name,
            "weights_sha256": backbone.identity.weights_sha256,
            "type": str(backbone.dtype),
            "attention": backbone.decoder.config._attn_implementation,
            "device": backbone.device.type,
            "torch": torch.__version__,
            "prompt": list(prompt.ids),
            "block": block,
        }
        digest = hashlib.sha256(canonical_json(identity).encode()).hexdigest()
        folder = (root or cache_dir() / "prefixes") / f"{Path(backbone.identity.name).name}-{digest[:16]}"
        self._store = FeatureStore(folder, backbone.width, identity, _STORED_AS[backbone.dtype])
        self._past = DynamicCache(config=backbone.decoder.config)
        prompt_BS = torch.tensor([prompt.ids], device=backbone.device)
        self._prompt_PD = self.split.stream(prompt_BS, cache=self._past)[0]

    @property
    def folder(self) -> Path:
        """Where the streams lie."""
        return self._store.folder

    def __len__(self) -> int:
        return len(self._store)

    def fill(self, captions: Iterable[Sequence[int]]) -> int:
        """Compute the streams of the captions (token ids without the end token) that are not there yet; return how many.

        Raises:
            DataError: the disk is full; what was computed before is kept.
        """
        missing = {_key(caption): caption for caption in captions if _key(caption) not in self._store}
        if not missing:
            return 0
        # Captions of equal length share a batch, so little is padded.
        order = sorted(missing, key=lambda key: len(missing[key]))
        batches = [order[start : start + CAPTIONS_AT_ONCE] for start in range(0, len(order), CAPTIONS_AT_ONCE)]
        with self._store.writing() as writer:
            for keys in track(batches, "frozen prefix"):
                keys = [key for key in keys if key not in self._store]  # another process may have been here
                streams = self._compute([missing[key] for key in keys]) if keys else []
                for key, stream_CD in zip(keys, streams, strict=True):
                    writer.append(key, _to_numpy(stream_CD))
        return len(missing)

    def stream(self, batch: Batch, start: int = 0) -> Tensor:
        """Return the stream of a batch at the first site from a position of the prompt on, h_BSD; 0 at padding."""
        prompt = len(self.prompt.ids)
        captions = [
            ids_S[prompt:length]
            for ids_S, length in zip(batch.ids_BS.tolist(), batch.mask_BS.sum(dim=1).tolist(), strict=True)
        ]
        return pad_sequence([self.row(caption, start) for caption in captions], batch_first=True)

    def row(self, caption: Sequence[int], start: int = 0) -> Tensor:
        """Return the stream of the prompt from a position on and of one caption after it, h_SD."""
        return self.after_prompt(self._read(caption), start)

    def after_prompt(self, stream_CD: Tensor, start: int = 0) -> Tensor:
        """Put the stream of the prompt from a position on before that of a caption, h_SD."""
        return torch.cat([self._prompt_PD[start:], stream_CD.to(self._prompt_PD)])

    def _read(self, caption: Sequence[int]) -> Tensor:
        stored_CD = torch.from_numpy(np.array(self._store.read(_key(caption))))
        return stored_CD.view(self.backbone.dtype)

    @torch.no_grad()
    def _compute(self, captions: Sequence[Sequence[int]]) -> list[Tensor]:
        rows = [torch.tensor(list(caption), dtype=torch.long) for caption in captions]
        ids_BC = pad_sequence(rows, batch_first=True, padding_value=self.backbone.pad_id).to(self.backbone.device)
        real = [torch.ones(len(self.prompt.ids) + len(row), dtype=torch.long) for row in rows]
        mask_BS = pad_sequence(real, batch_first=True).to(self.backbone.device)
        past: Any = copy.deepcopy(self._past)
        past.batch_repeat_interleave(len(rows))
        stream_BCD = self.split.stream(ids_BC, mask_BS, past)
        return [stream_CD[: len(row)] for stream_CD, row in zip(stream_BCD, rows, strict=True)]


def _key(caption: Sequence[int]) -> str:
    return hashlib.sha256(np.asarray(caption, dtype="<i8").tobytes()).hexdigest()


def _to_numpy(stream_CD: Tensor) -> np.ndarray[Any, np.dtype[Any]]:
    stream_CD = stream_CD.contiguous().cpu()
    if stream_CD.dtype == torch.bfloat16:  # numpy has no bfloat16: its bits are kept
        stream_CD = stream_CD.view(torch.int16)
    array: np.ndarray[Any, np.dtype[Any]] = stream_CD.numpy()
    return array
