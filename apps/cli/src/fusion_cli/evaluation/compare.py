"""``fusion eval compare``: what two systems differ in, with intervals and p-values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from fusion_cli.evaluation.inputs import (
    AllowMissing,
    AssetsFolder,
    Clips,
    EventsFile,
    MetricDocumentFrequency,
    MetricNames,
    read_clip_list,
    read_document_frequency,
    read_events,
    split_names,
)

if TYPE_CHECKING:
    from fusion_eval.schemas.comparison import ComparedFile, Comparison, MetricComparison, SeedSpread, Spread

SIDES = ("--a", "--b")


class SeveralFiles(TyperCommand):
    """A command in which several files may follow ``--a`` and ``--b``: ``--a P0.json P1.json``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments, the option said again before each further file."""
        return super().parse_args(ctx, say_again(args, SIDES))


def say_again(arguments: Sequence[str], options: Sequence[str]) -> list[str]:
    """Return the arguments with one of the options before each value that follows it."""
    said: list[str] = []
    current = None
    for argument in arguments:
        if argument.startswith("-"):
            current = argument if argument in options else None
        elif current is not None and said[-1] != current:
            said.append(current)
        said.append(argument)
    return said


def compare(
    a: Annotated[list[Path], typer.Option("--a", help="Captions of one system; of several seeds, a file each.")],
    b: Annotated[list[Path], typer.Option("--b", help="Captions of the other system; of several seeds, a file each.")],
    references: Annotated[Path, typer.Option(help="What they are compared with, as fusion eval captions reads it.")],
    events: EventsFile = None,
    clips: Clips = None,
    metrics: MetricNames = "all",
    resamples: Annotated[int, typer.Option(help="Resamples of the bootstrap, and of the changes of sides.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Seed of the resamples.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Write the comparison to this file.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the bootstrap differences: a .svg, .png, .pdf or .html file.")
    ] = None,
    allow_missing: AllowMissing = False,
    document_frequency: MetricDocumentFrequency = None,
    assets: AssetsFolder = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON instead of a table.")] = False,
) -> None:
    """Compare two systems on the same clips: differences a - b with 95% intervals and p-values.

    All metrics are computed again in the same 10,000 resamples of the clips. Intervals and p-values say how far the
    difference would move with other clips. Give several seeds a side to see also how far it moves with the seed.

    Examples:

        fusion eval compare --a additive/predictions/test.json --b concat/predictions/test.json
        --references data/scenes/references/test.json --out comparison.json --plot comparison.svg

        fusion eval compare --a a0.json a1.json a2.json --b b0.json b1.json b2.json --references test.json
    """
    from fusion_eval.comparing import compare as compare_systems
    from fusion_eval.metrics.base import Resources
    from fusion_eval.readers import read_together

    from fusion_cli.console import metric_bars, notify, stderr

    if plot is not None:
        from fusion_report.bootstrap import check_format

        check_format(plot)
    files, truth = read_together([*a, *b], references, notify)
    names = split_names(metrics)
    frequency = read_document_frequency(document_frequency)
    with metric_bars() as progress:
        found = compare_systems(
            files[: len(a)],
            files[len(a) :],
            truth,
            names,
            events=read_events(events, references),
            allow_missing=allow_missing,
            clip_list=read_clip_list(clips, truth, references),
            resources=Resources(document_frequency=frequency, assets=assets, progress=progress),
            resamples=resamples,
            seed=seed,
        )
    if out is not None:
        found.write(out)
    if plot is not None:
        from fusion_report.bootstrap import draw_bootstrap

        draw_bootstrap(found, plot)
    _show(found, as_json)
    for what, path in (("Comparison", out), ("Plot", plot)):
        if path is not None:
            stderr.print(f"{what}: {path}", soft_wrap=True)
    if any(name in found.unavailable for name in names):
        raise typer.Exit(4)


def _show(found: Comparison, as_json: bool) -> None:
    """Print the comparison as tables or as JSON, and what it lacks as notes."""
    from fusion_cli.console import print_json, stderr, stdout

    if as_json:
        print_json(found.model_dump(mode="json", exclude_none=True))
    else:
        stdout.print(_differences(found))
        if len(found.a) > 1 or len(found.b) > 1:
            stdout.print(_over_seeds(found))
        counted = f"the {found.n} clips of {found.clip_list}" if found.clip_list else f"{found.n} clips"
        stdout.print(
            f"{counted}, {found.resamples} resamples, seed {found.seed}. Intervals: BCa over clips, ~ percentile."
            " p: two-sided, of no difference, by bootstrap and by sign flips; not corrected for several metrics.",
            style="dim",
        )
    for reason in dict.fromkeys(one.reason for one in found.metrics.values() if one.reason is not None):
        names = ", ".join(name for name, one in found.metrics.items() if one.reason == reason)
        stderr.print(f"No interval of {names}: {reason}", style="yellow", markup=False)
    for name, reason in found.unavailable.items():
        stderr.print(f"{name}: {reason}", style="yellow", markup=False)
    if found.oracle:
        stderr.print("Rows marked (oracle) chose among candidates by the references; they are no system's result.")
    for side, files in (("a", found.a), ("b", found.b)):
        for file in files:
            if file.missing:
                stderr.print(f"{side}: {len(file.missing)} of {found.n} clips have no prediction: empty captions.")


def _differences(found: Comparison) -> Any:
    """Return the table of the differences."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        title=escape(f"a: {_name(found.a)}   b: {_name(found.b)}   {found.dataset} {found.split}"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for heading in ("metric", "a", "b", "a - b", "95% interval", "p", "p flip"):
        table.add_column(heading, justify="left" if heading == "metric" else "right", no_wrap=True)
    for name, one in found.metrics.items():
        label = f"{name} (oracle)" if name in found.oracle else name
        numbers = (_number(one.a.value), _number(one.b.value), _number(one.difference.value, "+"))
        table.add_row(label, *numbers, *_judgement(one))
    return table


def _judgement(one: MetricComparison) -> tuple[str, str, str]:
    """Return the interval and the p-values as the table shows them."""
    difference = one.difference
    if difference.spread is None or difference.p is None or difference.p_sign_flip is None:
        return "-", "-", "-"
    return _interval(difference.spread), f"{difference.p:.4f}", f"{difference.p_sign_flip:.4f}"


def _interval(spread: Spread) -> str:
    interval = spread.bca or spread.percentile
    return f"{'' if spread.bca else '~ '}{_number(interval.low, '+')} {_number(interval.high, '+')}"


def _number(value: float, sign: str = "-") -> str:
    """Return a number in at most four decimals, of large ones in fewer, so that the table fits 80 columns."""
    return f"{value:{sign}.{4 if abs(value) < 10 else 2}f}"


def _over_seeds(found: Comparison) -> Any:
    """Return the table of means and standard deviations over the files of each side."""
    from rich import box
    from rich.table import Table

    table = Table(
        title="Over seeds: mean ± standard deviation (n - 1)",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("metric", no_wrap=True)
    table.add_column(f"a, n = {len(found.a)}", justify="right", no_wrap=True)
    table.add_column(f"b, n = {len(found.b)}", justify="right", no_wrap=True)
    for name, one in found.metrics.items():
        table.add_row(name, _mean(one.a.seeds), _mean(one.b.seeds))
    return table


def _mean(seeds: SeedSpread) -> str:
    return _number(seeds.mean) + (f" ± {_number(seeds.stdev)}" if seeds.stdev is not None else "")


def _name(files: Sequence[ComparedFile]) -> str:
    """Return the system's name; of files that name several systems, all names."""
    return ", ".join(dict.fromkeys(file.system for file in files))
