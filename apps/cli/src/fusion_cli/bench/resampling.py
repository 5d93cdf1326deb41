"""``fusion bench statistics``: the paired bootstrap of all metrics beside scipy's bootstrap of one mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fusion_cli.bench.captions import CaptionsFolder

if TYPE_CHECKING:
    from fusion_eval.bootstrap import SummedValues

    from fusion_cli.bench.captions import BenchCaptions

METRICS = ("bleu", "meteor", "rouge_l", "cider_d", "distinct_1")
BAR = 2.0  # times scipy's shortest, at most
RESAMPLES = 10_000
_RUNS = 7


def statistics(
    csv_dir: CaptionsFolder = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the seconds and ratios as JSON.")] = False,
) -> None:
    """Time the paired bootstrap of every metric beside scipy.stats.bootstrap of one mean, in one run.

    Two systems on 975 clips, 10,000 resamples: differences of all values, corpus BLEU and METEOR computed again in each
    resample, with percentile and BCa intervals and p. The shortest of seven runs counts, the sides in turn.

    Example: fusion bench statistics --csv-dir audiocaps/dataset
    """
    from fusion_cli.bench.captions import make_captions, read_captions
    from fusion_cli.console import print_json, stderr

    captions = read_captions(csv_dir) if csv_dir is not None else make_captions()
    stderr.print(f"Timing on {captions.source}.")
    found = measure(captions)
    if as_json:
        print_json(found)
    else:
        _show(found)
    for name, reason in found["unavailable"].items():
        stderr.print(f"{name}: {reason}", style="yellow", markup=False)


def measure(captions: BenchCaptions) -> dict[str, Any]:
    """Return the seconds of each side, and their ratio to the faster of scipy's two methods."""
    import numpy as np
    from fusion_eval.bootstrap import bootstrap, change_sides, p_recentred, p_sign_flip, uncertainty
    from scipy import stats

    first, unavailable = _sum_system(captions, captions.captions)
    second, _ = _sum_system(captions, [" ".join(caption.split()[:-1]) for caption in captions.captions])
    one_mean = np.random.default_rng(0).random(len(captions.captions))

    def scipys(method: str) -> None:
        stats.bootstrap((one_mean,), np.mean, n_resamples=RESAMPLES, method=method, rng=np.random.default_rng(0))

    def ours(with_flips: bool) -> None:
        a, b = bootstrap([first, second], RESAMPLES)
        flips = change_sides(first, second, RESAMPLES) if with_flips else {}
        for name in first.names:
            difference = a[name].minus(b[name])
            for values in (a[name], b[name], difference):
                uncertainty(values)
            p_recentred(difference)
            if with_flips:
                p_sign_flip(difference, flips[name])

    seconds = _shortest(
        {
            "scipy_percentile": lambda: scipys("percentile"),
            "scipy_bca": lambda: scipys("BCa"),
            "bootstrap": lambda: ours(with_flips=False),
            "bootstrap_and_sign_flips": lambda: ours(with_flips=True),
        }
    )
    scipy_seconds = min(seconds["scipy_percentile"], seconds["scipy_bca"])
    ratios = {name: seconds[name] / scipy_seconds for name in ("bootstrap", "bootstrap_and_sign_flips")}
    return {
        "captions": captions.source,
        "clips": len(captions.captions),
        "values": list(first.names),
        "columns": first.columns.shape[1],
        "resamples": RESAMPLES,
        "seconds": seconds,
        "ratios": ratios,
        "bar": {"ratio": ratios["bootstrap"], "bar": BAR, "kept": ratios["bootstrap"] <= BAR},
        "unavailable": unavailable,
    }


def _sum_system(captions: BenchCaptions, texts: list[str]) -> tuple[SummedValues, dict[str, str]]:
    """Return what is resampled of a system, and which metrics cannot be had here."""
    import numpy as np
    from fusion_eval.align import Alignment
    from fusion_eval.bootstrap import SummedValues, means
    from fusion_eval.metrics.base import Resources, ScoredClips
    from fusion_eval.scoring import evaluate

    clips = ScoredClips([str(place) for place in range(len(texts))], texts, captions.references)
    found = evaluate(Alignment(clips, missing=()), METRICS, Resources())
    parts = [values.statistics for values in found.values if values.statistics is not None]
    names = [name for part in parts for name in part.corpus(part.values_CF.sum(axis=0))]
    columns = {name: column for values in found.values for name, column in values.per_clip.items() if name not in names}
    parts.append(means(list(columns), np.array(list(columns.values()), dtype=np.float64).T))
    return SummedValues((*names, *columns), tuple(parts)), found.unavailable


def _shortest(sides: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Return the shortest of several runs of each side, the sides in turn; the first run only warms up."""
    import time

    seconds = dict.fromkeys(sides, float("inf"))
    for run in range(_RUNS + 1):
        for name, side in sides.items():
            begin = time.perf_counter()
            side()
            if run:
                seconds[name] = min(seconds[name], time.perf_counter() - begin)
    return seconds


def _show(found: dict[str, Any]) -> None:
    from rich.table import Table

    from fusion_cli.console import stdout

    titles = {
        "scipy_percentile": "scipy, one mean, percentile",
        "scipy_bca": "scipy, one mean, BCa",
        "bootstrap": f"paired bootstrap of {len(found['values'])} values",
        "bootstrap_and_sign_flips": "the same and sign flips",
    }
    table = Table(title=f"{found['captions']}: {found['clips']} clips, {found['resamples']} resamples")
    table.add_column("side")
    table.add_column("time", justify="right")
    table.add_column("ratio", justify="right")
    for name, title in titles.items():
        ratio = found["ratios"].get(name)
        table.add_row(title, f"{found['seconds'][name] * 1000:.1f} ms", "" if ratio is None else f"{ratio:.2f}x")
    stdout.print(table)
    bar = found["bar"]
    stdout.print(f"Bar: at most {bar['bar']:g}x, {'kept' if bar['kept'] else 'NOT KEPT'}.")
