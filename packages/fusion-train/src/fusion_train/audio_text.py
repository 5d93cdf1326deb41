"""The trained heads as an audio-text similarity: their folder, where it is found, and the similarity of caption candidates.

<folder>/heads.safetensors   the two heads and their statistics
<folder>/similarity.json     data, encoders, settings, hashes and what was measured; written last, so that it seals the folder
<folder>/README.md           the same for people
<folder>/log.jsonl           the losses of each epoch

Shapes: B clips or texts, E width of the shared space.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from fusion_core.errors import DataError, MissingAssetError
from fusion_core.files import cache_dir, sha256_file
from fusion_encoders.base import FeatureSequence, FrozenEncoder, sha256_of_settings
from fusion_encoders.registry import SIMILARITIES, load_encoder, load_pretrained_similarity, load_text_encoder
from fusion_encoders.similarity import AudioTextSimilarity
from fusion_encoders.text import TextCache
from fusion_eval.schemas import PredictionItem, Predictions, Schema
from fusion_eval.schemas.base import Sha256
from numpy.typing import NDArray
from pydantic import Field
from safetensors.torch import load_file
from torch import Tensor

from fusion_train.datasets.base import PreparedDataset, json_sha256
from fusion_train.examples import gather_features
from fusion_train.retrieval import Retrieval
from fusion_train.similarity_heads import LinearHeads, pool_frames
from fusion_train.similarity_settings import HeadSettings

CARD_FILE = "similarity.json"
WEIGHTS_FILE = "heads.safetensors"
_BATCH = 64

FeaturesOfClip = Callable[[str], NDArray[Any]]
"""The frames x_TA of a clip by its id."""


class HeadsCard(Schema):
    """What heads were trained on and how well they retrieve, kept as ``similarity.json``."""

    schema_: Literal["fusion.similarity/1"] = Field(default="fusion.similarity/1", alias="schema")
    dataset: str = Field(min_length=1)
    dataset_sha256: Sha256 = Field(description="Of the manifest and the training references.")
    encoder: str = Field(min_length=1)
    encoder_sha256: Sha256 = Field(description="The audio encoder's fingerprint.")
    encoder_width: int = Field(ge=1)
    text_encoder: str = Field(min_length=1)
    text_encoder_sha256: Sha256 = Field(description="The text encoder's fingerprint.")
    text_encoder_width: int = Field(ge=1)
    settings: HeadSettings
    weights_sha256: Sha256
    train_clips: int = Field(ge=1)
    train_texts: int = Field(ge=1, description="Distinct references.")
    epoch: int = Field(ge=0, description="Whose weights were kept.")
    val_loss: float
    test_clips: int = Field(ge=1)
    retrieval: dict[str, Retrieval] = Field(description="On the test split, by direction.")
    parameters: int = Field(ge=1)
    caution: str

    def identity(self) -> dict[str, Any]:
        """Return what the heads depend on: equal identities give equal heads."""
        names = ("dataset_sha256", "encoder_sha256", "text_encoder_sha256", "settings")
        return self.model_dump(mode="json", include=set(names))


class HeadsSimilarity(AudioTextSimilarity):
    """Two trained linear heads over the frozen encoders; see ``fusion_train.similarity_heads``.

    Args:
        card: what they were trained on.
        heads: the heads.
        encoder: the audio encoder.
        texts: the cached text encoder.
    """

    name = "heads"

    def __init__(self, card: HeadsCard, heads: LinearHeads, encoder: FrozenEncoder, texts: TextCache) -> None:
        self.card = card
        self.encoder = encoder
        self.width = card.settings.width
        self._heads = heads.eval()
        self._texts = texts

    @torch.no_grad()
    def embed_audio(self, features: FeatureSequence) -> Tensor:
        """Return the unit vectors e_BE of clips."""
        return self._heads.embed_audio(pool_frames(features.to("cpu")))

    @torch.no_grad()
    def embed_text(self, texts: Sequence[str]) -> Tensor:
        """Return the unit vectors e_BE of texts; each text is run through the text encoder once a user."""
        return self._heads.embed_text(self._texts.embed(texts))

    def fingerprint(self) -> str:
        """Return one SHA-256 for both encoders and the heads."""
        card = self.card
        return sha256_of_settings(
            {
                "name": self.name,
                "encoder": card.encoder_sha256,
                "text_encoder": card.text_encoder_sha256,
                "weights": card.weights_sha256,
            }
        )


def dataset_sha256(dataset: PreparedDataset) -> str:
    """Return one hash for what heads learn from: a dataset's clips and its training captions; no other captions are read."""
    training = dataset.references("train").sha256()
    return json_sha256({"manifest": dataset.card.manifest_sha256, "references": training})


def default_folder(dataset: PreparedDataset, encoder: FrozenEncoder, settings: HeadSettings | None = None) -> Path:
    """Return where the heads of a dataset and an encoder lie, trained or not: in the user's cache, by hash."""
    settings = settings or HeadSettings()
    data, heard = dataset_sha256(dataset)[:12], encoder.fingerprint()[:12]
    made = json_sha256(settings.model_dump(mode="json"))[:8]
    return cache_dir() / "similarity" / f"{dataset.name}-{data}-{encoder.name}-{heard}-{made}"


def find_similarity(
    dataset: PreparedDataset, encoder: FrozenEncoder, settings: HeadSettings | None = None
) -> HeadsSimilarity | None:
    """Return the heads of a dataset and an encoder from the user's cache, or None where they were not trained yet."""
    folder = default_folder(dataset, encoder, settings)
    return load_similarity(folder) if (folder / CARD_FILE).is_file() else None


def similarity_at_hand(dataset: PreparedDataset, encoder: FrozenEncoder) -> AudioTextSimilarity | None:
    """Return what can measure a run's candidates: heads that were trained, or else the text tower that the encoder comes with.

    Returns None where there is neither; a text tower that is not on this machine whole counts as none.
    """
    heads = find_similarity(dataset, encoder)
    if heads is not None or encoder.name not in SIMILARITIES.names():
        return heads
    try:
        similarity = load_pretrained_similarity(encoder.name, encoder=encoder)
        similarity.embed_text(["a sound"])
    except MissingAssetError:
        return None
    return similarity


def load_similarity(folder: Path) -> HeadsSimilarity:
    """Load trained heads with their encoders.

    Raises:
        MissingAssetError: there are no heads in the folder, or an encoder is not installed.
        DataError: the weights are not those of the card, or the encoders here are not those that the heads were trained with.
    """
    if not (folder / CARD_FILE).is_file():
        raise MissingAssetError(f"{folder} holds no trained heads: train them with fusion align DATASET --out {folder}")
    card = HeadsCard.read(folder / CARD_FILE)
    weights = folder / WEIGHTS_FILE
    if not weights.is_file() or sha256_file(weights) != card.weights_sha256:
        raise DataError(f"{weights} is not the file that {CARD_FILE} names: train the heads again (fusion align).")
    encoder, text_encoder = load_encoder(card.encoder), load_text_encoder(card.text_encoder)
    for made, here, name in (
        (card.encoder_sha256, encoder.fingerprint(), card.encoder),
        (card.text_encoder_sha256, text_encoder.fingerprint(), card.text_encoder),
    ):
        if made != here:
            raise DataError(
                f"{folder / CARD_FILE}: the heads were trained with another {name} (weights, precision or settings) "
                "than the one on this machine: train them here (fusion align)."
            )
    heads = LinearHeads(card.encoder_width, card.text_encoder_width, card.settings.width)
    heads.load_state_dict(load_file(weights))
    return HeadsSimilarity(card, heads, encoder, TextCache(text_encoder))


def add_similarity(predictions: Predictions, similarity: AudioTextSimilarity, features: FeaturesOfClip) -> Predictions:
    """Return the predictions with the cosine of audio and text at every candidate; captions and order stay as they were.

    It sees the clips' audio and the candidates' texts, and no reference.

    Args:
        predictions: captions with candidates.
        similarity: what measures.
        features: the frames of ``similarity.encoder`` by clip id.

    Raises:
        DataError: no clip has candidates, or the features of a clip are missing.
    """
    having = [item for item in predictions.items if item.candidates]
    if not having:
        raise DataError("The predictions have no candidates; decode with more than one beam and keep them.")
    texts = list(dict.fromkeys(one.text for item in having for one in item.candidates or ()))
    place = {text: index for index, text in enumerate(texts)}
    text_BE = similarity.embed_text(texts)
    scored: dict[str, PredictionItem] = {}
    for start in range(0, len(having), _BATCH):
        part = having[start : start + _BATCH]
        audio_BE = similarity.embed_audio(gather_features([item.id for item in part], features))
        for item, audio_E in zip(part, audio_BE.numpy(), strict=True):
            rows = [place[one.text] for one in item.candidates or ()]
            scored[item.id] = _with_similarity(item, text_BE.numpy()[rows] @ audio_E)
    items = tuple(scored.get(item.id, item) for item in predictions.items)
    return predictions.model_copy(update={"items": items})


def _with_similarity(item: PredictionItem, cosines: NDArray[np.float32]) -> PredictionItem:
    candidates = tuple(
        one.model_copy(update={"similarity": float(cosine)})
        for one, cosine in zip(item.candidates or (), cosines, strict=True)
    )
    return item.model_copy(update={"candidates": candidates})
