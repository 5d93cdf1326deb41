"""The tables of the page as HTML elements; an empty cell carries a number, and the note of that number says why it is empty.

Elements are built as a tree and written by the library, so that no text of a run can become markup.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, SubElement, tostring

from fusion_eval.schemas.study import StudyCard

from fusion_report.metric_names import label_of
from fusion_report.page.outputs import ORACLE, RERANKED, PageResults, PageRun, condition_label
from fusion_report.page.summary import Cell, Group
from fusion_report.rendering import p_of, plain, spread_of
from fusion_report.study import Study
from fusion_report.table import Cell as ReportCell
from fusion_report.table import Column, Table
from fusion_report.tables.answers import answer_table
from fusion_report.tables.earlier_skills import earlier_skills_table
from fusion_report.tables.retention import condition_label as retention_label

EMPTY = "–"
_CONTROLS_METRICS = ("spider", "cider_d", "event_f1")


@dataclass
class Notes:
    """The numbered reasons under one table."""

    name: str
    texts: list[str] = field(default_factory=list)

    def mark(self, cell: Element, text: str) -> None:
        """Put the number of a note into a cell, with a link to it."""
        if text not in self.texts:
            self.texts.append(text)
        number = self.texts.index(text) + 1
        link = SubElement(SubElement(cell, "sup"), "a", href=f"#{self.name}-note-{number}", title=text)
        link.text = str(number)
        link.set("aria-label", f"Note {number}: {text}")

    def element(self) -> Element | None:
        """Return the list of notes; None where there are none."""
        if not self.texts:
            return None
        notes = Element("ol", {"class": "notes"})
        for number, text in enumerate(self.texts, 1):
            SubElement(notes, "li", id=f"{self.name}-note-{number}", dir="auto").text = text
        return notes


def element(tag: str, text: str = "", **attributes: str) -> Element:
    """Return an element; a trailing underscore in an attribute's name is dropped, as in ``class_``."""
    made = Element(tag, {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()})
    made.text = text
    return made


def to_html(elements: Sequence[Element]) -> str:
    """Return elements as HTML text."""
    return "\n".join(tostring(one, encoding="unicode", method="html") for one in elements)


def _table(name: str, caption: str, columns: Sequence[str], numeric_from: int) -> tuple[Element, Element]:
    """Return the card with its caption, and the body of the table, which scrolls where it is wider than the card."""
    card = element("div", class_="card")
    SubElement(card, "p", {"class": "caption-of-table", "id": f"{name}-caption"}).text = caption
    scroll = {"class": "scroll", "role": "region", "aria-labelledby": f"{name}-caption", "tabindex": "0"}
    frame = SubElement(card, "div", scroll)
    table = SubElement(frame, "table", {"id": name, "class": "sortable", "aria-labelledby": f"{name}-caption"})
    row = SubElement(SubElement(table, "thead"), "tr")
    for number, column in enumerate(columns):
        head = SubElement(row, "th", scope="col")
        head.text = column
        if number >= numeric_from:
            head.set("class", "number")
    return card, SubElement(table, "tbody")


def _number_cell(row: Element, cell: Cell, notes: Notes, best: bool = False) -> None:
    made = SubElement(row, "td", {"class": "number best" if best else "number"})
    if cell.value is None:
        made.set("class", "number empty")
        made.text = EMPTY
        notes.mark(made, cell.reason)
        return
    made.set("data-value", repr(cell.value))
    SubElement(made, "b").text = f"{cell.value:.3f}"
    if cell.reason:
        notes.mark(made, cell.reason)
    interval = f"[{cell.low:.3f}, {cell.high:.3f}]" if cell.low is not None and cell.high is not None else ""
    deviation = f"± {cell.deviation:.3f}" if cell.deviation is not None else ""
    if interval or deviation:
        SubElement(made, "span", {"class": "spread"}).text = f"{interval} {deviation}".strip()


def _plain_cell(row: Element, text: str, value: float | None, notes: Notes, reason: str) -> None:
    made = SubElement(row, "td", {"class": "number"})
    made.text = text if value is not None else EMPTY
    if value is not None:
        made.set("data-value", repr(value))
    else:
        made.set("class", "number empty")
        notes.mark(made, reason)


def _system_head(row: Element, group: Group, extra: str = "") -> None:
    head = SubElement(row, "th", scope="row")
    SubElement(head, "span", {"class": "dot", "data-system": group.system}).text = ""
    SubElement(head, "span").text = group.label + extra


def results_table(groups: Sequence[Group], metrics: Sequence[str], title: str, split: str = "test") -> list[Element]:
    """Return the table of some groups: a row for each, and for its reranked captions and its oracle where there are some."""
    name = f"results-{_slug(title)}"
    notes = Notes(name)
    columns = ["system", "seeds", *map(label_of, metrics), "trainable", "hours"]
    caption = f"{title}. Mean over seeds, [95 % interval over clips], ± deviation over seeds."
    card, body = _table(name, caption, columns, 1)
    best = {metric: _best(groups, metric, split) for metric in metrics}
    for group in groups:
        for condition, extra in ((group.whole, ""), (RERANKED, " + reranked"), (ORACLE, ": oracle, no result")):
            if condition == group.whole or condition in group.conditions(split):
                row = SubElement(body, "tr", {"class": "oracle"} if condition == ORACLE else {})
                _system_head(row, group, extra)
                cells = {metric: group.cell(condition, metric, split) for metric in metrics}
                _seeds_cell(row, group, cells, notes)
                for metric, cell in cells.items():
                    _number_cell(
                        row, cell, notes, best=cell.value is not None and (condition, cell.value) == best[metric]
                    )
                _cost_cells(row, group, notes)
    found = notes.element()
    return [card, *([found] if found is not None else [])]


def _best(groups: Sequence[Group], metric: str, split: str) -> tuple[str, float] | None:
    """Return the highest value of a metric and its condition, oracles left out; None where fewer than two are there."""
    cells = [
        (condition, cell.value)
        for group in groups
        for condition in (group.whole, RERANKED)
        if (cell := group.cell(condition, metric, split)).value is not None
    ]
    return max(cells, key=lambda pair: pair[1] or 0.0) if len(cells) > 1 else None


def _seeds_cell(row: Element, group: Group, cells: dict[str, Cell], notes: Notes) -> None:
    seeds = sorted({seed for cell in cells.values() for seed in cell.by_seed})
    made = SubElement(row, "td", {"class": "number", "data-value": str(len(seeds))})
    made.text = f"{len(seeds)} of {len(group.runs)}" if len(seeds) < len(group.runs) else str(len(seeds))
    if len(seeds) == 1:
        notes.mark(made, "One seed: there is no deviation over seeds.")


def _cost_cells(row: Element, group: Group, notes: Notes) -> None:
    unknown = next((run.reason for run in group.runs if run.reason), "") or "no run card"
    parameters, hours = group.parameters, group.hours
    _plain_cell(row, f"{(parameters or 0) / 1e6:.2f} M", parameters, notes, unknown)
    shown = f"{hours:.2f}" if hours is not None else ""
    _plain_cell(row, shown, hours, notes, unknown if parameters is None else "The run card states no hours.")


def controls_table(groups: Sequence[Group], metrics: Sequence[str], dataset: str, split: str = "test") -> list[Element]:
    """Return the table of what a system says when it hears rightly, wrongly or not at all; nothing without controls."""
    conditions = list(dict.fromkeys(name for group in groups for name in group.conditions(split)))
    conditions = [name for name in conditions if name not in (RERANKED, ORACLE)]
    shown = [metric for metric in _CONTROLS_METRICS if metric in metrics]
    if len(conditions) < 2 or not shown:
        return []
    name = f"controls-{_slug(dataset)}"
    notes = Notes(name)
    caption = f"{dataset}, {split} clips: what remains when a system hears another clip, or nothing."
    card, body = _table(name, caption, ["system", "metric", *map(condition_label, conditions)], 2)
    for group in groups:
        for metric in shown:
            cells = [group.cell(condition, metric, split) for condition in conditions]
            if any(cell.value is not None for cell in cells):
                row = SubElement(body, "tr")
                _system_head(row, group)
                SubElement(row, "td").text = label_of(metric)
                for cell in cells:
                    _number_cell(row, cell, notes)
    found = notes.element()
    return [card, *([found] if found is not None else [])]


def retention_table(results: PageResults) -> list[Element]:
    """Return what every run still answers, condition by condition; nothing where no run was asked."""
    asked = [run for run in results.runs if run.retention is not None or "retention" in run.plan.measures]
    if not asked:
        return []
    notes = Notes("retention")
    columns = ["run", "condition", "questions", "before", "after", "Δ", "bound", "verdict"]
    caption = "Questions answered before and after; bound: lower end of the one-sided 95 % interval of Δ. In percent."
    card, body = _table("retention", caption, columns, 2)
    for run in asked:
        for condition, found in (run.retention.conditions if run.retention is not None else {}).items():
            change = found.scorings[run.retention.scoring] if run.retention is not None else None
            if change is None:
                continue
            row = SubElement(body, "tr")
            _run_head(row, run)
            SubElement(row, "td").text = retention_label(condition)
            SubElement(row, "td", {"class": "number"}).text = f"{change.n:,}"
            for value, sign in ((change.before, ""), (change.after, ""), (change.delta, "+"), (change.bound, "+")):
                shown = SubElement(row, "td", {"class": "number", "data-value": repr(value)})
                shown.text = f"{100 * value:{sign}.1f}"
            SubElement(row, "td").text = found.verdict
        if run.retention is None:
            row = SubElement(body, "tr")
            _run_head(row, run)
            made = SubElement(row, "td", {"class": "empty"})
            made.text = EMPTY
            notes.mark(made, run.plan.measures["retention"].reason or "retention.json is absent or cannot be read")
    listed = notes.element()
    return [card, *([listed] if listed is not None else [])]


def _run_head(row: Element, run: PageRun) -> None:
    head = SubElement(row, "th", scope="row")
    SubElement(head, "span", {"class": "dot", "data-system": run.plan.system}).text = ""
    SubElement(head, "span").text = run.plan.name


def watching_tables(study: Study) -> list[Element]:
    """Return the tables on runs that were trained to watch, as the report has them; nothing where there is none."""
    if not any(group.stage == "video" for group in study.groups):
        return []
    return [one for build in (answer_table, earlier_skills_table) for one in report_table(build(study))]


def report_table(table: Table) -> list[Element]:
    """Return a table of the report with its caption; a section's name stands before the first cell of its rows."""
    notes = Notes(table.key)
    caption = f"{table.title}. {' '.join(table.caption)}"
    card, body = _table(table.key, caption, [column.title for column in table.columns], len(table.columns))
    for column, title in zip(table.columns, card.iter("th"), strict=True):
        if column.numeric:
            title.set("class", "number")
    section = ""
    for row in table.rows:
        section = row.section or section
        made = SubElement(body, "tr")
        head, *cells = row.cells
        SubElement(made, "th", scope="row").text = ": ".join(part for part in (section, plain(head)) if part)
        for column, cell in zip(table.columns[1:], cells, strict=True):
            _report_cell(made, column, cell, notes)
    found = notes.element()
    return [card, *([found] if found is not None else [])]


def _report_cell(row: Element, column: Column, cell: ReportCell, notes: Notes) -> None:
    made = SubElement(row, "td", {"class": "number"} if column.numeric else {})
    if cell.is_empty:
        made.set("class", "number empty" if column.numeric else "empty")
        made.text = EMPTY
    elif cell.value is None:
        made.text = plain(cell)
    else:
        made.set("data-value", repr(cell.value))
        SubElement(made, "b").text = cell.number()
        deviation = f"± {cell.stdev:.{cell.digits}f}" if cell.stdev is not None else ""
        spread = " ".join(part for part in (spread_of(cell), deviation, p_of(cell)) if part)
        if spread:
            SubElement(made, "span", {"class": "spread"}).text = spread
    if cell.reason:
        notes.mark(made, cell.reason)


def runs_table(results: PageResults) -> list[Element]:
    """Return the list of all runs with what became of them."""
    columns = ["run", "system", "stage", "seed", "state", "steps", "adapter"]
    card, body = _table("runs", "Every run, and what became of it.", columns, 5)
    for run in results.runs:
        row = SubElement(body, "tr")
        SubElement(row, "th", scope="row").text = run.plan.name
        system = f"{run.plan.system}, {run.plan.variant}" if run.plan.variant else run.plan.system
        for text in (system, run.plan.stage, str(run.plan.seed)):
            SubElement(row, "td").text = text
        state = SubElement(row, "td", {"dir": "auto"})
        state.text = run.plan.status if not run.reason else f"{run.plan.status}: {run.reason}"
        if run.problems and not run.reason:
            state.text += f"; {'; '.join(run.problems)}"
        if run.reason or run.problems:
            state.set("class", "empty")
        steps = run.card.training.steps if run.card is not None else None
        SubElement(row, "td", {"class": "number"}).text = EMPTY if steps is None else f"{steps:,}"
        adapter = run.card.adapter_sha256 if run.card is not None else None
        SubElement(row, "td", {"class": "number"}).text = EMPTY if adapter is None else adapter[:12]
    return [card]


def decisions_list(study: StudyCard | None) -> list[Element]:
    """Return what the study decided from its own results, with the numbers; nothing where it decided nothing."""
    if study is None or not study.decisions:
        return []
    listed = element("ul", class_="decisions")
    for decision in study.decisions:
        item = SubElement(listed, "li")
        SubElement(item, "b").text = decision.rule
        SubElement(item, "span", {"class": "verdict"}).text = "triggered" if decision.triggered else "not triggered"
        SubElement(item, "p", {"dir": "auto"}).text = decision.outcome
        numbers = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in decision.numbers.items())
        SubElement(item, "p", {"class": "numbers"}).text = numbers
    return [element("h2", "Decisions"), listed]


def _slug(text: str) -> str:
    return "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in text.lower())
