"""``fusion eval similarity``: write the cosine of audio and text into the candidates of a predictions file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fusion_encoders.similarity import AudioTextSimilarity
    from fusion_eval.schemas.predictions import Predictions
    from fusion_train.audio_text import FeaturesOfClip, HeadsSimilarity
    from fusion_train.datasets.base import PreparedDataset


def similarity(
    predictions: Annotated[Path, typer.Option(help="Captions with candidates: a predictions.json.")],
    root: Annotated[Path, typer.Option(help="The prepared dataset that the clips are from; its audio alone is used.")],
    out: Annotated[Path, typer.Option(help="Write the predictions with similarities here.")],
    heads: Annotated[
        Path | None,
        typer.Option(help="Folder of the trained heads; those of this dataset in the user's cache if not given."),
    ] = None,
    encoder: Annotated[str, typer.Option(help="Audio encoder of the heads, where --heads is not given.")] = "aisfx",
    by: Annotated[
        str, typer.Option("--by", help="What measures: heads (fusion align), or the pretrained clap or clap-fused.")
    ] = "heads",
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON instead of a table.")] = False,
) -> None:
    """Say of each candidate how well it fits its clip, for fusion eval tune-rerank and rerank. Its references are not read.

    The heads come from fusion align. They judge captions in the language that they learned from: a reranker's weights are chosen
    on val, and what counts is the metrics of the reranked captions, never the similarity itself.

    Examples:

        fusion eval similarity --predictions predictions/val.json --root data/scenes --out with_similarity.json

        fusion eval similarity --by clap --predictions predictions/val.json --root data/audiocaps --out with_similarity.json
    """
    from fusion_eval.schemas.predictions import Predictions
    from fusion_train.audio_text import add_similarity, dataset_sha256
    from fusion_train.datasets.base import open_dataset

    from fusion_cli.console import notify, print_json

    before = Predictions.read(predictions)
    dataset = open_dataset(root)
    measure = _measure(by, dataset, root, heads, encoder)
    card = getattr(measure, "card", None)
    if card and card.dataset_sha256 != dataset_sha256(dataset):
        notify(f"The heads were trained on another dataset ({card.dataset}) than the one in {root}.")
    if card and before.split == "train":
        notify("The heads were trained on the references of these very clips: their similarity is too good on train.")
    after = add_similarity(before, measure, _features(before, dataset, measure, predictions))
    after.write(out)
    summary = _summary(after) | {"measure": measure.name, "measure_sha256": measure.fingerprint()}
    caution = card.caution if card else "The similarity chooses among captions; it is no score of a system."
    if as_json:
        print_json(summary | {"caution": caution})
    else:
        _print(after, summary)
        notify(caution)
    notify(f"Predictions with similarities: {out}")


def _measure(by: str, dataset: PreparedDataset, root: Path, folder: Path | None, encoder: str) -> AudioTextSimilarity:
    """Load the heads, or a pretrained similarity by its name."""
    from fusion_core.errors import ConfigError
    from fusion_encoders.registry import load_pretrained_similarity

    if by == "heads":
        return _heads(dataset, root, folder, encoder)
    if folder is not None:
        raise ConfigError(f"--heads {folder}: the heads measure only with --by heads; leave one of the two out.")
    return load_pretrained_similarity(by)


def _heads(dataset: PreparedDataset, root: Path, folder: Path | None, encoder: str) -> HeadsSimilarity:
    """Load the heads of a folder, or those of the dataset in the user's cache.

    Raises:
        MissingAssetError: they were not trained yet; the sentence names the command.
    """
    from fusion_core.errors import MissingAssetError
    from fusion_encoders.registry import load_encoder
    from fusion_train.audio_text import find_similarity, load_similarity

    if folder is not None:
        return load_similarity(folder)
    found = find_similarity(dataset, load_encoder(encoder))
    if found is None:
        raise MissingAssetError(
            f"There are no heads of {dataset.name} in {root} with {encoder} yet: "
            f"train them with fusion align {dataset.name} --root {root}, or give --heads."
        )
    return found


def _features(
    predictions: Predictions, dataset: PreparedDataset, measure: AudioTextSimilarity, path: Path
) -> FeaturesOfClip:
    """Return the frames of each clip by its id; clips that are not in the feature cache are encoded first.

    Raises:
        DataError: a clip with candidates is not in the dataset, or its audio cannot be used.
    """
    from fusion_core.errors import DataError
    from fusion_train.similarity_training import fill_features

    wanted = {item.id for item in predictions.items if item.candidates}
    rows = {row.id: row for row in dataset.rows(predictions.split) if row.id in wanted}
    cache = fill_features(dataset, measure.encoder, rows.values())
    hashes = {name: row.sha256 for name, row in rows.items() if row.sha256 and cache.has(row.sha256)}
    absent = sorted(wanted - set(hashes))
    if absent:
        raise DataError(
            f"{path}: clip '{absent[0]}' has candidates but no usable audio in split '{predictions.split}' of {dataset.root} "
            f"({len(absent)} such clips): give the --root that the captions were made from."
        )
    return lambda name: cache.get(hashes[name])


def _summary(predictions: Predictions) -> dict[str, Any]:
    clips = [item for item in predictions.items if item.candidates]
    values = [[one.similarity or 0.0 for one in item.candidates or ()] for item in clips]
    chosen = [
        next((one.similarity for one in item.candidates or () if one.text == item.caption), None) for item in clips
    ]
    known = [value for value in chosen if value is not None]
    best = [max(row) for row in values]
    return {
        "clips": len(clips),
        "candidates": sum(map(len, values)),
        "mean similarity of all candidates": sum(map(sum, values)) / sum(map(len, values)),
        "mean similarity of the captions": sum(known) / len(known) if known else None,
        "mean similarity of each clip's nearest candidate": sum(best) / len(best),
        "captions that are the nearest candidate": sum(one == top for one, top in zip(chosen, best, strict=True)),
    }


def _print(predictions: Predictions, summary: dict[str, Any]) -> None:
    from rich.table import Table

    from fusion_cli.console import stdout

    table = Table(title=f"{predictions.system} on {predictions.dataset} {predictions.split}", title_justify="left")
    table.add_column("what")
    table.add_column("value", justify="right")
    for name, value in summary.items():
        if name != "measure_sha256":
            table.add_row(name, f"{value:.3f}" if isinstance(value, float) else str(value))
    stdout.print(table)
