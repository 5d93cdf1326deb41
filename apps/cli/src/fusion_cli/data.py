"""``fusion data``: make a dataset, and check one on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fusion_cli.console import print_json, stderr, stdout

if TYPE_CHECKING:
    from fusion_train.datasets.base import PreparedDataset
    from fusion_train.datasets.verify import Fault

app = typer.Typer(no_args_is_help=True, help="Prepare datasets and check them.")

SHOWN = 20
"""How many quarantined clips a table lists."""


@app.command()
def prepare(
    dataset: Annotated[str, typer.Argument(help="Name of a dataset: scenes, folder, audiocaps, clotho, …")],
    root: Annotated[Path | None, typer.Option(help="Where to make it; by default data/DATASET.")] = None,
    audio_dir: Annotated[
        Path | None, typer.Option(help="Folder of audio files, at any depth (folder, audiocaps, clotho).")
    ] = None,
    csv_dir: Annotated[
        Path | None, typer.Option(help="Folder of the tables of captions (folder, audiocaps, clotho).")
    ] = None,
    bank: Annotated[Path | None, typer.Option(help="Folder of labelled recordings (scenes).")] = None,
    video_dir: Annotated[Path | None, typer.Option(help="Folder of videos, at any depth (av-captions, avqa).")] = None,
    source: Annotated[
        Path | None,
        typer.Option(help="LLaVA's list of conversations (llava-probe); folder of MUSIC-AVQA's lists (avqa)."),
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Folder that the list's images begin in (llava-probe).")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of every draw (scenes, visual-questions, llava-probe).")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Another option of the dataset; repeatable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Make a dataset: audio, manifest, captions, event graphs where they are known.

    What was cut off goes on, and what lies finished is left alone. A clip that cannot be used stays in the manifest with its
    reason, and the rest goes on. Of audiocaps and clotho report.md has counts, lengths, hashes and every clip without audio;
    files may be called ID.wav, YID.wav or ID_START.flac, in folders by split or in one.

    Examples:

        fusion data prepare scenes

        fusion data prepare scenes --bank my_recordings --set train=1200

        fusion data prepare folder --audio-dir my_sounds

        fusion data prepare audiocaps --csv-dir audiocaps/dataset --audio-dir /data/audiocaps/wav

        fusion data prepare av-scenes

        fusion data prepare avqa --video-dir /data/MUSIC-AVQA/videos --source MUSIC-AVQA/data/json

        fusion data prepare visual-questions

        fusion data prepare llava-probe --source llava_v1_5_mix665k.json --images /data/llava
    """
    from fusion_train.datasets.registry import parse_options, prepare_dataset

    given = {"audio_dir": audio_dir, "csv_dir": csv_dir, "bank": bank, "seed": seed, "source": source, "images": images}
    given["video_dir"] = video_dir
    options = parse_options(dataset, given | _settings(settings or ()))
    prepared = prepare_dataset(dataset, options, root)
    result = _summary(prepared)
    if as_json:
        print_json(result)
    else:
        _print_tables(result)


@app.command()
def verify(
    dataset: Annotated[str, typer.Argument(help="Name of a dataset, or the folder of a prepared one.")],
    root: Annotated[Path | None, typer.Option(help="Folder of the prepared dataset, if not the usual one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check a prepared dataset: every clip is there, unchanged, decodes and is as long as the manifest says.

    Exit code 3 where a clip is not what the manifest says; quarantined clips are listed and are no error.

    Examples:

        fusion data verify scenes

        fusion data verify data/scenes-1a2b3c4d
    """
    from fusion_train.datasets.registry import dataset_names, default_root
    from fusion_train.datasets.verify import verify as check

    known = dataset in dataset_names()
    report = check(root or (default_root(dataset) if known else Path(dataset)))
    result = _summary(report.dataset) | {"ok": report.ok, "faults": _listed(report.faults)}
    if as_json:
        print_json(result)
    else:
        _print_tables(result)
        _print_clips("Faults", result["faults"])
        checked = sum(split["ok"] for split in report.counts.values())
        stdout.print(f"{checked} clips checked, {len(report.faults)} faults.")
    if not report.ok:
        raise typer.Exit(3)


@app.command()
def overlap(
    first: Annotated[str, typer.Argument(help="Name of a dataset, or the folder of a prepared one.")],
    second: Annotated[
        str | None, typer.Argument(help="The other; without it the splits of the first are compared.")
    ] = None,
    sounds: Annotated[
        bool, typer.Option(help="Compare what the clips sound like too, for which each is decoded once.")
    ] = True,
    gate: Annotated[bool, typer.Option("--gate", help="Exit code 5 where a clip of a test split is found.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Find recordings that two datasets share, or two splits of one: by source id, by bytes, and by sound.

    The source is a video of YouTube or a sound of Freesound. The sound finds copies that were resampled or re-encoded, not
    those that begin elsewhere in the recording.

    Examples:

        fusion data overlap audiocaps

        fusion data overlap audiocaps data/my-training-set --gate
    """
    from fusion_train.datasets.overlap import overlap as find

    matches = find(_prepared(first), _prepared(second) if second is not None else None, sounds)
    result = {"first": first, "second": second or first, "matches": [vars(match) for match in matches]}
    if as_json:
        print_json(result)
    else:
        _print_matches(result)
    if gate and any("test" in (match.first_split, match.second_split) for match in matches):
        raise typer.Exit(5)


def _prepared(dataset: str) -> PreparedDataset:
    """Open a prepared dataset by its name or its folder.

    Raises:
        DataError: it is not prepared.
    """
    from fusion_train.datasets.base import open_dataset
    from fusion_train.datasets.registry import dataset_names, default_root

    return open_dataset(default_root(dataset) if dataset in dataset_names() else Path(dataset))


def _settings(texts: Sequence[str]) -> dict[str, str]:
    """Return the options given as ``key=value``.

    Raises:
        ConfigError: one has no ``=``.
    """
    from fusion_core.errors import ConfigError

    values = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise ConfigError(f"--set {text} has no '='; write --set key=value.")
        values[key.strip().replace("-", "_")] = value.strip()
    return values


def _summary(prepared: PreparedDataset) -> dict[str, Any]:
    """Return what is printed of a dataset."""
    from fusion_train.datasets.corpus_report import REPORT, denominators
    from fusion_train.datasets.verify import count_rows, quarantined

    report = prepared.root / REPORT
    return {
        "dataset": prepared.name,
        "root": str(prepared.root),
        "splits": count_rows(prepared.manifest),
        "quarantined": _listed(quarantined(prepared.manifest)),
        "manifest_sha256": prepared.card.manifest_sha256,
        "options": prepared.card.options,
        "statistics": prepared.card.statistics,
        "denominators": denominators(prepared),
        "report": str(report) if report.is_file() else None,
    }


def _listed(faults: Sequence[Fault]) -> list[dict[str, str]]:
    return [vars(fault) for fault in faults]


def _print_tables(result: dict[str, Any]) -> None:
    from rich.table import Table

    statuses = list(next(iter(result["splits"].values())))
    table = Table(title=f"{result['dataset']}: clips", title_justify="left")
    table.add_column("split")
    for status in statuses:
        table.add_column(status.replace("_", " "), justify="right")
    for split, counts in result["splits"].items():
        table.add_row(split, *(str(counts[status]) for status in statuses))
    stdout.print(table)
    _print_clips("Quarantined", result["quarantined"])
    if "lists" in result["statistics"]:
        _print_corpus(result)
    _print_statistics(result["statistics"])
    stderr.print(f"dataset: {result['root']}", soft_wrap=True, markup=False)


def _print_clips(title: str, clips: Sequence[dict[str, str]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    if not clips:
        return
    table = Table("file", "reason", title=title, title_justify="left")
    for clip in clips[:SHOWN]:
        table.add_row(escape(clip["path"]), escape(clip["reason"]))
    stdout.print(table)
    if len(clips) > SHOWN:
        stdout.print(f"… and {len(clips) - SHOWN} more; --json lists all.")


def _print_matches(result: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    matches = result["matches"]
    stdout.print(f"{len(matches)} pairs of clips are one recording ({result['first']}, {result['second']}).")
    if not matches:
        return
    table = Table("first", "split", "second", "split", "by", title="The same recording", title_justify="left")
    for match in matches[:SHOWN]:
        cells = (match["first"], match["first_split"], match["second"], match["second_split"])
        table.add_row(*(escape(cell) for cell in cells), ", ".join(match["signs"]))
    stdout.print(table)
    if len(matches) > SHOWN:
        stdout.print(f"… and {len(matches) - SHOWN} more; --json lists all.")


def _print_corpus(result: dict[str, Any]) -> None:
    """Print what is known of a published corpus: releases, published lists, what was odd, what scores are over."""
    from rich.markup import escape
    from rich.table import Table

    statistics = result["statistics"]
    table = Table("split", "hours", "captions", "equal to", "references", title="Captions", title_justify="left")
    for name in (name for name in result["splits"] if name in statistics["splits"]):
        split = statistics["splits"][name]
        release = split["release"] or "no known release"
        table.add_row(name, f"{split['hours']:.2f}", f"{split['captions']:,}", release, split["references_sha256"][:12])
    stdout.print(table)
    for name, one in statistics["lists"].items():
        stdout.print(f"{name}: {one['usable']} of its {one['clips']} clips are usable.", highlight=False)
    for quirk in statistics["quirks"]:
        stdout.print(f"{escape(quirk)}.", highlight=False)
    for sentence in result["denominators"]:
        stdout.print(f"{sentence}.", highlight=False)
    stderr.print(f"report: {result['report']}", soft_wrap=True, markup=False)


def _print_statistics(statistics: dict[str, Any]) -> None:
    """Print what a dataset measures of itself: sounds by class, leakage, agreement; a probe's questions and hash."""
    from rich.table import Table

    if "probe_sha256" in statistics:
        questions = Table("kind", "questions", title="Questions", title_justify="left")
        for kind, number in statistics["questions"].items():
            questions.add_row(kind, str(number))
        stdout.print(questions)
        stdout.print(f"Locked list: {statistics['probe_sha256']}")
        if "disclosure" in statistics:
            stdout.print(statistics["disclosure"])
    if "commonest_answer" in statistics:
        _print_answers(statistics)
    if "bank" in statistics:
        found = next(iter(statistics["bank"].values()))
        columns = [name for name in ("train", "val", "test", "parameters") if name in found]
        bank = Table("class", *columns, title="Sounds of the bank", title_justify="left")
        for name, numbers in statistics["bank"].items():
            bank.add_row(name, *(str(numbers[column]) for column in columns))
        stdout.print(bank)
    if statistics.get("left_out"):
        _print_clips("Left out", [{"path": path, "reason": why} for path, why in statistics["left_out"].items()])
    if "leakage" in statistics:
        leakage, agreement = statistics["leakage"], statistics["agreement"]
        of_what = {"graphs": "graphs (all that happens)", "sequences": "class sequences", "references": "references"}
        shares = [f"{leakage[name]:.1%} of test {what}" for name, what in of_what.items() if name in leakage]
        stdout.print(f"Leakage: {', '.join(shares)} also occur in train.")
        stdout.print(
            f"Agreement of references (templates, not people), ROUGE-L: {agreement['own_clip']:.2f} in their own clip, "
            f"{agreement['random_clip']:.2f} with a random clip (people on Clotho: 0.47 and 0.19)."
        )


def _print_answers(statistics: dict[str, Any]) -> None:
    """Print how many questions about clips there are, and what guessing the commonest answer reaches."""
    from rich.table import Table

    splits = list(statistics["commonest_answer"])
    table = Table("question", *splits, title="The commonest answer's share", title_justify="left")
    for category in dict.fromkeys(name for split in splits for name in statistics["commonest_answer"][split]):
        shares = [statistics["commonest_answer"][split].get(category) for split in splits]
        table.add_row(category, *("-" if found is None else f"{found:.2f}" for found in shares))
    table.add_section()
    table.add_row("questions", *(str(sum(statistics["questions"][split].values())) for split in splits))
    stdout.print(table)
