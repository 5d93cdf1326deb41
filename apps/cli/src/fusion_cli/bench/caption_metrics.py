"""``fusion bench metrics``: how fast the caption metrics are beside the tools that people use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fusion_cli.bench.captions import CaptionsFolder

if TYPE_CHECKING:
    from fusion_cli.bench.captions import BenchCaptions

OURS = "fusion-eval"
RIVALS = ("aac-metrics", "pycocoevalcap")
STAGES = {
    "tokenise": "tokenisation",
    "cider_d": "CIDEr-D",
    "bleu": "BLEU-1 to 4",
    "rouge_l": "ROUGE-L",
    "meteor": "METEOR, again",
    "native": "tokens, BLEU, ROUGE-L, CIDEr-D",
    "all": "the same and METEOR, again",
    "all_cold": "the same and METEOR, first time",
    "reward": "SCST reward of 64 x 5",
}
BARS = {"cider_d": 5.0, "reward": 10.0}
IMPORT_BAR = 0.3  # seconds
_LIMIT = 900  # seconds that one tool may take
_IMPORTS = 5


def metrics(
    csv_dir: CaptionsFolder = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the seconds and ratios as JSON.")] = False,
) -> None:
    """Time the caption metrics beside aac-metrics and pycocoevalcap, in one run on the same captions.

    975 clips with 5 references; the reward scores 64 clips x 5 samples with the document frequencies of the training
    captions. Each tool has a process of its own and the shortest of as many runs as fit into four seconds, at most fifty,
    counts. A ratio says how many times
    longer the other tool takes. Takes about two minutes with Java.

    Example: fusion bench metrics --csv-dir audiocaps/dataset
    """
    from fusion_cli.bench.captions import make_captions, read_captions
    from fusion_cli.console import print_json, stderr

    captions = read_captions(csv_dir) if csv_dir is not None else make_captions()
    stderr.print(f"Timing on {captions.source}.")
    found = measure(captions)
    if as_json:
        print_json({name: value for name, value in found.items() if name != "notes"})
    else:
        _show(found)
    for note in found["notes"]:
        stderr.print(note, style="yellow", markup=False)


def measure(captions: BenchCaptions) -> dict[str, Any]:
    """Return what was timed: seconds by tool and stage, ratios, bars, largest differences, and notes."""
    from fusion_core.progress import track

    content = captions.to_json()
    tools = {name: _run_tool(name, content) for name in track((OURS, *RIVALS), "timing tools")}
    seconds = {name: tool["seconds"] for name, tool in tools.items() if tool["seconds"]}
    own = seconds.get(OURS, {})
    rivals = {name: seconds[name] for name in RIVALS if name in seconds}
    ratios = {
        name: {stage: rival[stage] / own[stage] for stage in STAGES if stage in rival and stage in own}
        for name, rival in rivals.items()
    }
    imports = _import_seconds()
    return {
        "captions": captions.source,
        "clips": len(captions.captions),
        "references": sum(map(len, captions.references)),
        "versions": {name: tool["version"] for name, tool in tools.items() if tool["version"]},
        "machine": _machine(),
        "seconds": seconds,
        "ratios": ratios,
        "largest_difference": {name: _differences(tools[OURS]["values"], tools[name]["values"]) for name in rivals},
        "import_seconds": imports,
        "bars": _bars(ratios, imports),
        "notes": [
            f"{name}, {STAGES.get(stage, stage)}: {reason}"
            for name, tool in tools.items()
            for stage, reason in tool["failures"].items()
        ],
    }


def _run_tool(name: str, content: dict[str, Any]) -> dict[str, Any]:
    """Return what a tool's own process measured; where it cannot run, why."""
    import json
    import subprocess
    import sys

    absent: dict[str, Any] = {"version": None, "seconds": {}, "values": {}}
    command = [sys.executable, "-O", "-m", "fusion_cli.bench.timing", name]
    try:
        done = subprocess.run(
            command, input=json.dumps(content), capture_output=True, text=True, timeout=_LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        return absent | {"failures": {"start": f"took more than {_LIMIT} s."}}
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return absent | {"failures": {"start": f"could not be timed ({last})."}}
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def _import_seconds() -> float:
    """Return the shortest time that ``import fusion_eval`` takes in a process of its own."""
    import subprocess
    import sys

    code = "import time; begin = time.perf_counter(); import fusion_eval; print(time.perf_counter() - begin)"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, check=True) for _ in range(_IMPORTS)]
    return min(float(run.stdout) for run in runs)


def _bars(ratios: dict[str, dict[str, float]], imports: float) -> dict[str, dict[str, float | bool]]:
    """Return what was promised: the least ratio to the faster of the others, and whether it is kept."""
    bars: dict[str, dict[str, float | bool]] = {}
    for stage, bar in BARS.items():
        found = [by_stage[stage] for by_stage in ratios.values() if stage in by_stage]
        if found:
            bars[stage] = {"bar": bar, "ratio": min(found), "kept": min(found) >= bar}
    bars["import"] = {"bar": IMPORT_BAR, "seconds": imports, "kept": imports < IMPORT_BAR}
    return bars


def _differences(ours: dict[str, list[float]], theirs: dict[str, list[float]]) -> dict[str, float]:
    """Return the largest difference of a clip's value by metric."""
    return {
        name: max(abs(a - b) for a, b in zip(ours[name], column, strict=True))
        for name, column in theirs.items()
        if name in ours
    }


def _machine() -> str:
    import os
    import platform

    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


def _show(found: dict[str, Any]) -> None:
    from rich.table import Table

    from fusion_cli.console import stdout

    rivals = list(found["ratios"])
    table = Table(title=f"{found['captions']}: {found['clips']} clips, {found['references']} references")
    table.add_column("stage")
    table.add_column(OURS, justify="right")
    for name in rivals:
        table.add_column(name, justify="right")
        table.add_column("ratio", justify="right")
    for stage, title in STAGES.items():
        cells = [_seconds(found["seconds"].get(OURS, {}).get(stage))]
        for name in rivals:
            ratio = found["ratios"][name].get(stage)
            cells += [_seconds(found["seconds"][name].get(stage)), "" if ratio is None else f"{ratio:.1f}x"]
        table.add_row(title, *cells)
    stdout.print(table)
    for name, differences in found["largest_difference"].items():
        if differences:
            metric, value = max(differences.items(), key=lambda pair: pair[1])
            stdout.print(f"Largest difference of a clip's value to {name}: {value:.1e} ({metric}).")
    stdout.print(f"import fusion_eval: {found['import_seconds']:.3f} s. {found['machine']}.")
    for name, bar in found["bars"].items():
        measured = f"{bar['ratio']:.1f}x (bar {bar['bar']:g}x)" if "ratio" in bar else f"bar {bar['bar']} s"
        stdout.print(f"{STAGES.get(name, name)}: {measured}, {'kept' if bar['kept'] else 'NOT KEPT'}.")


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.1f} s"
