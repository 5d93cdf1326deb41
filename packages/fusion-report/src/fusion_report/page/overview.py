"""The head of the results: what was run, the best system beside its own control, and what it cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element, SubElement

from fusion_report.metric_names import label_of
from fusion_report.page.outputs import RERANKED, PageResults, condition_label
from fusion_report.page.summary import Cell, Group, metrics_of
from fusion_report.page.tables import element

_TIERS = {
    "tiny": "tiny tier: a run of this size shows that all parts work, and nothing about the systems",
    "embedded": "embedded tier: captions are templates, so that numbers compare systems with each other and with nothing else",
    "paper": "paper tier",
}


def overview(results: PageResults, groups: Sequence[Group]) -> list[Element]:
    """Return the sentence on the study and the tiles with its main numbers."""
    lede = element("p", _sentence(results), class_="lede")
    tiles = element("dl", class_="tiles")
    for name, value, text in _tiles(groups):
        tile = SubElement(tiles, "div")
        SubElement(tile, "dt").text = name
        SubElement(tile, "dd", {"class": "value"}).text = value
        SubElement(tile, "dd").text = text
    actions = element("p", class_="actions")
    for address, text in (("#clips", "Listen to the clips"), ("#charts", "See the charts")):
        SubElement(actions, "a", href=address).text = text
    return [lede, *([tiles] if len(tiles) else []), actions]


def _sentence(results: PageResults) -> str:
    states = Counter(run.plan.status for run in results.runs)
    parts = [f"{states[state]} {state}" for state in ("done", "failed", "missing") if states[state]]
    systems = len({run.plan.system for run in results.runs})
    runs = "1 run" if len(results.runs) == 1 else f"{len(results.runs)} runs"
    sentence = f"{runs} ({', '.join(parts)}) of {systems} system{'s' if systems > 1 else ''}"
    if results.study is None:
        return f"{sentence}."
    seeds = len(results.study.seeds)
    return f"{sentence}, {seeds} seed{'s' if seeds > 1 else ''}; {_TIERS[results.study.tier]}."


def _tiles(groups: Sequence[Group]) -> Iterator[tuple[str, str, str]]:
    """Yield name, value and explanation of each tile."""
    best = _best(groups)
    if best is None:
        return
    group, condition, metric, cell = best
    name = group.label + (" + reranked" if condition == RERANKED else "")
    yield f"Best {label_of(metric)}", f"{cell.value:.3f}", f"{name}{_between(cell)}"
    shuffled = group.cell("shuffled", metric)
    if shuffled.value is not None:
        yield "With another clip's audio", f"{shuffled.value:.3f}", f"{group.label}{_between(shuffled)}"
    nearest = group.cell("nearest_neighbour", metric)
    if nearest.value is not None:
        yield condition_label("nearest_neighbour").capitalize(), f"{nearest.value:.3f}", "retrieval, the floor to beat"
    if group.parameters is not None:
        share = f"trained, of {group.label}; the language model itself is frozen"
        yield "Parameters", f"{group.parameters / 1e6:.2f} M", share


def _best(groups: Sequence[Group]) -> tuple[Group, str, str, Cell] | None:
    """Return the best group by the first metric that is there, reranked captions among them; None where nothing is scored.

    Groups of one dataset are compared, that of the first group with a score: scores of other clips say nothing beside it.
    """
    metrics = metrics_of(groups)
    found = [
        (group, condition, metric, cell)
        for metric in metrics
        for group in groups
        for condition in (group.whole, RERANKED)
        if (cell := group.cell(condition, metric)).value is not None
    ]
    if not found:
        return None
    first, _, metric, _ = found[0]
    comparable = [one for one in found if one[2] == metric and one[0].dataset == first.dataset]
    return max(comparable, key=lambda one: one[3].value or 0.0)


def _between(cell: Cell) -> str:
    if cell.low is None or cell.high is None:
        return ""
    return f", 95 % interval {cell.low:.3f} to {cell.high:.3f}"
