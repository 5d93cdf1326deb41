"""Find the weights that FENSE needs: a folder that was given, or the caches that other tools fill. Nothing downloads.

FENSE (Zhou et al., "Can Audio Captions Be Evaluated with Image Caption Metrics?", ICASSP 2022) is made of a detector of
errors in fluency and of a sentence encoder. aac-metrics computes both; this module only says where their weights are.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from fusion_eval.errors import DataError, MissingAssetError
from fusion_eval.files import sha256_file

DETECTOR = "echecker_clotho_audiocaps_base"
DETECTOR_SHA256 = "1a719f090af70614bbdb9f9437530b7e133c48cfa4a58d964de0d47fc974a2fa"
DETECTOR_ENCODER = "bert-base-uncased"
SENTENCE_ENCODER = "paraphrase-TinyBERT-L6-v2"


@dataclass(frozen=True)
class Asset:
    """One thing that FENSE needs: its name, what it is for, the hub repository and the names that a folder may use."""

    name: str
    purpose: str
    repository: str | None
    is_file: bool = False


ASSETS = (
    Asset(f"{DETECTOR}.ckpt", "the fluency detector", None, is_file=True),
    Asset(DETECTOR_ENCODER, "the fluency detector's encoder and tokenizer", "google-bert/bert-base-uncased"),
    Asset(SENTENCE_ENCODER, "the sentence encoder", f"sentence-transformers/{SENTENCE_ENCODER}"),
)


def find_asset(name: str, folder: Path | None = None) -> Path:
    """Return where an asset lies: in the folder given, or else in the cache of aac-metrics or of the model hub.

    Raises:
        MissingAssetError: it is nowhere; the message says how to provide it.
    """
    asset = next(one for one in ASSETS if one.name == name)
    places = [folder / name] if folder is not None else _cached(asset)
    for place in places:
        if place.is_file() if asset.is_file else (place / "config.json").is_file():
            return place
    where = f"in {folder}" if folder is not None else "in no cache"
    raise MissingAssetError(
        f"{name} is {where}; run aac-metrics-download where there is internet, or name a folder that holds it: --assets."
    )


def findings(folder: Path | None = None) -> list[tuple[str, str, bool, str]]:
    """Return of each asset its name, what it is for, whether it is there, and where, or how to provide it."""
    found = []
    for asset in ASSETS:
        try:
            found.append((asset.name, f"FENSE: {asset.purpose}", True, str(find_asset(asset.name, folder))))
        except MissingAssetError as error:
            found.append((asset.name, f"FENSE: {asset.purpose}", False, str(error)))
    return found


def check_detector(path: Path) -> str:
    """Return the hash of the fluency detector's file.

    Raises:
        DataError: the file is not the published one.
    """
    found = sha256_file(path)
    if found != DETECTOR_SHA256:
        raise DataError(f"{path}: SHA-256 is {found[:12]}…, not {DETECTOR_SHA256[:12]}…; provide the published file.")
    return found


def _cached(asset: Asset) -> list[Path]:
    """Return where other tools keep an asset."""
    if asset.is_file:
        torch_home = Path(os.environ.get("TORCH_HOME", Path.home() / ".cache" / "torch"))
        return [Path(os.environ.get("FENSE_DATA", torch_home / "hub" / "fense_data")) / asset.name]
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return []
    names = [asset.repository, asset.name] if asset.repository else [asset.name]
    found = [try_to_load_from_cache(name, "config.json") for name in names if name]
    return [Path(path).parent for path in found if isinstance(path, str)]
