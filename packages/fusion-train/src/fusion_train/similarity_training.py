"""From a prepared dataset to trained heads: features, training on train, retrieval on test, a folder with a card."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from fusion_core.errors import ConfigError
from fusion_core.files import sha256_file, write_atomic
from fusion_core.journal import Journal
from fusion_core.locks import waiting_lock
from fusion_encoders.base import FrozenEncoder
from fusion_encoders.cache import FeatureCache
from fusion_encoders.registry import load_text_encoder
from fusion_encoders.text import FrozenTextEncoder, TextCache
from fusion_eval.schemas import ManifestRow
from safetensors.torch import save

from fusion_train.audio_text import CARD_FILE, WEIGHTS_FILE, HeadsCard, dataset_sha256, default_folder
from fusion_train.datasets.base import PreparedDataset
from fusion_train.materials import SPLITS, split_data
from fusion_train.retrieval import CUTOFFS, retrieval
from fusion_train.similarity_heads import LinearHeads, PairedSplit, split_similarity, train_heads
from fusion_train.similarity_settings import HeadSettings

README_FILE = "README.md"
Announce = Callable[[str], None]

COUNTED = (
    "A clip searches the distinct sentences of all test references and is right with any of its own; a distinct sentence "
    "searches the test clips and is right with any clip that has it as a reference. Of equal similarities the wrong comes first."
)


def caution(dataset: str) -> str:
    """Return the sentence that every number from these heads needs beside it."""
    language = "the same template language" if dataset == "scenes" else "the language of the same annotators"
    return (
        f"Circular: heads trained on the captions of {dataset} judge captions in {language}. "
        "A similarity, or a caption chosen by it, is never a result by itself."
    )


def fill_features(dataset: PreparedDataset, encoder: FrozenEncoder, rows: Iterable[ManifestRow]) -> FeatureCache:
    """Encode the usable clips among the rows that are not in the cache yet, and return the cache."""
    cache = FeatureCache(encoder)
    usable = [row for row in rows if row.status == "ok" and row.sha256]
    cache.fill((row.id, dataset.audio_path(row), str(row.sha256)) for row in usable)
    return cache


def train_similarity(
    dataset: PreparedDataset,
    encoder: FrozenEncoder,
    settings: HeadSettings | None = None,
    folder: Path | None = None,
    announce: Announce = lambda sentence: None,
) -> tuple[Path, HeadsCard]:
    """Train the heads of a dataset and return their folder and card; where they lie already, nothing is done again.

    Training sees the train split; val says when to stop; test is measured once, afterwards.

    Args:
        dataset: the prepared dataset.
        encoder: the audio encoder.
        settings: of the heads; None for the defaults.
        folder: where they go; None for the place in the user's cache where others look for them.
        announce: called with a sentence at the start of each stage.

    Raises:
        ConfigError: ``folder`` holds heads of other data, encoders or settings.
        DataError: a split has no usable clip.
        MissingAssetError: the text encoder is not installed.
    """
    settings = settings or HeadSettings()
    folder = folder or default_folder(dataset, encoder, settings)
    text_encoder = load_text_encoder(settings.text_encoder)
    facts = {
        "dataset": dataset.name,
        "dataset_sha256": dataset_sha256(dataset),
        "encoder": encoder.name,
        "encoder_sha256": encoder.fingerprint(),
        "encoder_width": encoder.width,
        "text_encoder": text_encoder.name,
        "text_encoder_sha256": text_encoder.fingerprint(),
        "text_encoder_width": text_encoder.width,
        "settings": settings,
    }
    with waiting_lock(folder / "run.lock", f"training heads in {folder}"):
        if not (folder / CARD_FILE).is_file():
            _train(dataset, encoder, text_encoder, facts, folder, announce)
        card = HeadsCard.read(folder / CARD_FILE)
    if any(getattr(card, name) != value for name, value in facts.items()):
        raise ConfigError(f"{folder} holds heads of other data, encoders or settings: give another --out.")
    return folder, card


def _train(
    dataset: PreparedDataset,
    encoder: FrozenEncoder,
    text_encoder: FrozenTextEncoder,
    facts: dict[str, Any],
    folder: Path,
    announce: Announce,
) -> None:
    announce(f"features: {encoder.name}")
    cache = fill_features(dataset, encoder, dataset.manifest)
    announce(f"texts: {text_encoder.name}")
    texts = TextCache(text_encoder)
    splits = {name: PairedSplit.of(split_data(dataset, name, cache).clips, cache.get, texts.embed) for name in SPLITS}
    announce("heads: trained on train, stopped by val, measured on test")
    journal = Journal(folder / "log.jsonl")
    settings: HeadSettings = facts["settings"]
    heads, best = train_heads(splits["train"], splits["val"], settings, lambda losses: journal.write("epoch", **losses))
    weights = save({name: value.contiguous() for name, value in heads.state_dict().items()})
    write_atomic(folder / WEIGHTS_FILE, weights)
    card = HeadsCard(
        **facts,
        weights_sha256=sha256_file(folder / WEIGHTS_FILE),
        train_clips=len(splits["train"].own),
        train_texts=len(splits["train"].text_MG),
        epoch=int(best["epoch"]),
        val_loss=best["val_loss"],
        test_clips=len(splits["test"].own),
        retrieval=retrieval(*split_similarity(heads, splits["test"])),
        parameters=_parameters(heads),
        caution=caution(dataset.name),
    )
    write_atomic(folder / README_FILE, render_readme(card).encode())
    card.write(folder / CARD_FILE)
    journal.write("finished", epoch=card.epoch, val_loss=card.val_loss)


def render_readme(card: HeadsCard) -> str:
    """Return the card of the heads in Markdown."""
    head = "| direction | queries | searched | " + " | ".join(f"R@{k} | chance" for k in CUTOFFS) + " | median rank |"
    rows = [
        f"| {name.replace('_', ' ')} | {one.queries} | {one.pool} | "
        + " | ".join(f"{one.recall[k]:.3f} | {one.chance[k]:.3f}" for k in CUTOFFS)
        + f" | {one.median_rank:g} |"
        for name, one in card.retrieval.items()
    ]
    return "\n".join(
        [
            f"# Audio-text similarity of {card.dataset}",
            "",
            f"Two linear heads ({card.parameters:,} parameters) over the frozen encoders {card.encoder} (mean and maximum of its "
            f"frames) and {card.text_encoder}, into {card.settings.width} dimensions; the similarity is the cosine. Trained on "
            f"{card.train_clips} clips with {card.train_texts} sentences of the train split, seed {card.settings.seed}; "
            f"the weights of epoch {card.epoch} had the lowest loss on val.",
            "",
            f"**{card.caution}**",
            "",
            f"Retrieval on the {card.test_clips} clips of the test split:",
            "",
            head,
            "|---|" + "---:|" * (2 * len(CUTOFFS) + 3),
            *rows,
            "",
            COUNTED,
            "",
        ]
    )


def _parameters(heads: LinearHeads) -> int:
    return sum(parameter.numel() for parameter in heads.parameters())
