"""``fusion align``: train the audio-text similarity of a dataset, two linear heads over frozen encoders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusion_cli.console import notify, print_json, stderr, stdout

if TYPE_CHECKING:
    from fusion_train.audio_text import HeadsCard


def align(
    dataset: Annotated[str, typer.Argument(help="The dataset, such as scenes; prepared if it is not yet.")],
    profile: Annotated[
        str, typer.Option("--profile", help="Whose dataset and encoder: default, embedded, tiny, or a YAML file.")
    ] = "default",
    seed: Annotated[
        int | None, typer.Option("--seed", help="Seed of the heads' weights and order; 0 if not given.")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="dataset.KEY=VALUE, encoder=NAME, or heads.KEY=VALUE such as heads.width=128; repeatable."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Where the heads go; the user's cache, by hash, if not given.")
    ] = None,
    root: Annotated[Path | None, typer.Option("--root", help="Where the dataset is or will be prepared.")] = None,
    bank: Annotated[
        Path | None, typer.Option("--bank", help="scenes: a folder of labelled recordings with manifest.csv.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Put a dataset's sounds and captions into one space, and say how well each finds the other on test.

    Two linear heads over the frozen audio encoder and a frozen text encoder are trained on train alone, and stopped by val. With
    --out left out they lie where the reranker looks for them: fusion eval similarity writes their cosine into candidates.

    Example: fusion align scenes
    """
    from fusion_core.errors import ConfigError
    from fusion_encoders.registry import load_encoder
    from fusion_train.config import load_settings
    from fusion_train.datasets.registry import parse_options, prepare_dataset
    from fusion_train.similarity_settings import parse_head_settings
    from fusion_train.similarity_training import train_similarity

    heads = [change for change in changes or [] if change.startswith("heads.")]
    others = [change for change in changes or [] if change not in heads]
    for change in others:
        if not change.startswith(("dataset.", "encoder=")):
            raise ConfigError(
                f"--set {change}: fusion align takes dataset.KEY=VALUE, encoder=NAME and heads.KEY=VALUE."
            )
    if bank is not None:
        others.append(f"dataset.bank={bank.resolve()}")
    settings = load_settings(profile, others)
    head_settings = parse_head_settings(heads, seed)
    notify(f"▸ data: {dataset}")
    prepared = prepare_dataset(dataset, parse_options(dataset, settings.dataset), root)
    encoder = load_encoder(settings.encoder)
    folder, card = train_similarity(prepared, encoder, head_settings, out, lambda sentence: notify(f"▸ {sentence}"))
    if as_json:
        print_json({"folder": str(folder), **card.model_dump(mode="json")})
    else:
        _print(card, folder)


def _print(card: HeadsCard, folder: Path) -> None:
    from fusion_train.retrieval import CUTOFFS
    from fusion_train.similarity_training import COUNTED
    from rich import box
    from rich.table import Table

    title = f"Retrieval on {card.test_clips} test clips of {card.dataset}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("direction", no_wrap=True)
    for column in ("queries", "searched", *(name for k in CUTOFFS for name in (f"R@{k}", "chance")), "median rank"):
        table.add_column(column, justify="right")
    for name, one in card.retrieval.items():
        shares = [f"{share:.3f}" for k in CUTOFFS for share in (one.recall[k], one.chance[k])]
        table.add_row(name.replace("_", " "), str(one.queries), str(one.pool), *shares, f"{one.median_rank:g}")
    stdout.print(table)
    stdout.print(COUNTED, style="dim")
    stdout.print(card.caution)
    stderr.print(f"heads: {folder}", soft_wrap=True)
