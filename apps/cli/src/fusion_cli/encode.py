"""``fusion encode``: run a frozen encoder over a prepared dataset, once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fusion_cli.console import print_json, stderr, stdout

if TYPE_CHECKING:
    from fusion_encoders.cache import FeatureCache, FillReport
    from fusion_train.datasets.base import PreparedDataset


def encode(
    dataset: Annotated[str, typer.Argument(help="Name of a dataset, or the folder of a prepared one.")],
    encoder: Annotated[str, typer.Option(help="Name of the encoder, such as aisfx or logmel.")] = "aisfx",
    root: Annotated[Path | None, typer.Option(help="Folder of the prepared dataset, if not the usual one.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that encode; by default one a core.")] = None,
    rank: Annotated[int, typer.Option(min=0, help="Which share this process encodes, from 0; see --world.")] = 0,
    world: Annotated[int, typer.Option(min=1, help="How many processes or machines share the clips.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Encode every usable clip of a prepared dataset; clips that were encoded before are taken from the cache.

    A file that cannot be used is left out, its reason is shown, and the rest goes on; what was stopped goes on when it is
    called again. With --rank and --world several processes or machines encode a share each. On one disk that is all; else copy
    the folder shards/RANK-of-WORLD of each to where the features lie.

    Examples:

        fusion encode scenes --encoder aisfx

        srun --ntasks 8 bash -c 'fusion encode audiocaps --rank $SLURM_PROCID --world $SLURM_NTASKS'
    """
    from fusion_encoders.cache import FeatureCache
    from fusion_encoders.registry import load_encoder
    from fusion_encoders.sharding import Shard

    shard = Shard(rank, world)
    prepared = _open(dataset, root)
    clips = [
        (row.id, prepared.audio_path(row), row.sha256)
        for row in prepared.manifest
        if row.status == "ok" and row.sha256 is not None
    ]
    cache = FeatureCache(load_encoder(encoder))
    report = cache.fill(clips, workers=workers, shard=shard if world > 1 else None)
    result = _result(prepared, encoder, cache, report)
    if as_json:
        print_json(result)
    else:
        _print_tables(result)


def _open(dataset: str, root: Path | None) -> PreparedDataset:
    """Open the dataset of that name or, where no dataset has this name, of that folder.

    Raises:
        ConfigError: it is neither a name nor a folder.
        DataError: the folder is absent, unfinished or another dataset's.
    """
    from fusion_core.errors import DataError
    from fusion_train.datasets.base import open_dataset
    from fusion_train.datasets.registry import dataset_names, default_root, load_recipe

    is_folder = Path(dataset).exists() or len(Path(dataset).parts) > 1
    if dataset not in dataset_names() and is_folder and root is None:
        return open_dataset(Path(dataset))
    load_recipe(dataset)
    prepared = open_dataset(root or default_root(dataset))
    if prepared.name != dataset:
        raise DataError(f"{prepared.root} holds dataset '{prepared.name}', not '{dataset}'; give another --root.")
    return prepared


def _result(prepared: PreparedDataset, encoder: str, cache: FeatureCache, report: FillReport) -> dict[str, Any]:
    left_out = [
        {"id": row.id, "path": row.path, "status": row.status, "reason": row.reason}
        for row in prepared.manifest
        if row.status != "ok"
    ]
    paths = {row.id: row.path for row in prepared.manifest}
    quarantined = [
        {"id": identity, "path": paths[identity], "status": "quarantined", "reason": reason}
        for identity, reason in report.quarantined.items()
    ]
    return {
        "dataset": prepared.name,
        "root": str(prepared.root),
        "encoder": encoder,
        "features": str(cache.folder),
        "encoded": report.encoded,
        "from_cache": report.cached,
        "other_shares": report.other_shares,
        "quarantined": quarantined,
        "left_out_by_manifest": left_out,
    }


def _print_tables(result: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    counts = Table(title=escape(f"{result['dataset']} · {result['encoder']}"), title_justify="left")
    counts.add_column("clips")
    counts.add_column("", justify="right")
    counts.add_row("encoded", str(result["encoded"]))
    counts.add_row("from cache", str(result["from_cache"]))
    if result["other_shares"]:
        counts.add_row("left to other shares", str(result["other_shares"]))
    counts.add_row("quarantined now", str(len(result["quarantined"])))
    counts.add_row("left out by the manifest", str(len(result["left_out_by_manifest"])))
    stdout.print(counts)
    bad = [*result["left_out_by_manifest"], *result["quarantined"]]
    if bad:
        reasons = Table("clip", "file", "status", "reason", title="Left out", title_justify="left")
        for clip in bad:
            reasons.add_row(*(escape(clip[column] or "") for column in ("id", "path", "status", "reason")))
        stdout.print(reasons)
    stderr.print(f"features: {result['features']}", soft_wrap=True)
