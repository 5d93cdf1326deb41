"""A table as Markdown, LaTeX with booktabs, CSV and JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping

from fusion_report import escaping
from fusion_report.table import Cell, Column, Table

Renderer = Callable[[Table], str]
_DASH = "—"
_SMALLEST_P = 1e-4
_LONG_TITLE = 12


def spread_of(cell: Cell) -> str:
    """Return the interval of a cell, such as [0.55, 0.74]; nothing where it has none."""
    if cell.low is None or cell.high is None:
        return ""
    return f"[{cell.number(cell.low)}, {cell.number(cell.high)}]"


def p_of(cell: Cell) -> str:
    """Return the p of a cell; the smallest that 10,000 resamples can show is shown as a bound."""
    if cell.p is None:
        return ""
    return f"p < {_SMALLEST_P:g}" if cell.p < _SMALLEST_P else f"p = {cell.p:.2g}"


def plain(cell: Cell) -> str:
    """Return what a cell shows on a terminal."""
    if cell.is_empty:
        return _DASH
    if cell.text is not None:
        return escaping.shortened(cell.text)
    deviation = f" ± {cell.stdev:.{cell.digits}f}" if cell.stdev is not None else ""
    rest = " ".join(part for part in (spread_of(cell), p_of(cell)) if part)
    return f"{cell.number()}{deviation}" + (f" {rest}" if rest else "")


def render_markdown(table: Table) -> str:
    """Return the table in Markdown, notes on empty cells below it."""
    notes = table.notes()
    lines = [
        f"**{escaping.markdown(table.title)}.** " + " ".join(escaping.markdown(one) for one in table.caption),
        "",
        "| " + " | ".join(escaping.markdown(column.title) for column in table.columns) + " |",
        "|" + "|".join("---:" if column.numeric else ":---" for column in table.columns) + "|",
    ]
    for row in table.rows:
        if row.section is not None:
            lines.append(f"| *{escaping.markdown(row.section)}* |" + " |" * (len(table.columns) - 1))
        lines.append("| " + " | ".join(_markdown_cell(cell, notes) for cell in row.cells) + " |")
    if notes:
        lines += ["", *(f"<sup>{mark}</sup> {escaping.markdown(reason)}  " for reason, mark in notes.items())]
    return "\n".join(lines) + "\n"


def _markdown_cell(cell: Cell, notes: Mapping[str, str]) -> str:
    mark = f"<sup>{notes[cell.reason]}</sup>" if cell.reason else ""
    if cell.text is not None or cell.is_empty:
        return escaping.markdown(plain(cell)) + mark
    return plain(cell) + mark


def render_latex(table: Table) -> str:
    """Return the table as a LaTeX float; needs booktabs, graphicx and the T1 and textcomp encodings.

    After each row a comment names the files that its numbers come from.
    """
    notes = table.notes()
    shape = "".join("r" if column.numeric else "l" for column in table.columns)
    lines = [
        r"\begin{table*}[t]",
        r"\centering\small",
        rf"\caption{{\textbf{{{escaping.latex(table.title)}.}} "
        + " ".join(escaping.latex(one) for one in table.caption)
        + "}",
        rf"\label{{tab:{table.key}}}",
        r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{@{{}}{shape}@{{}}}}",
        r"\toprule",
        " & ".join(_latex_title(column) for column in table.columns) + r" \\",
        r"\midrule",
    ]
    for place, row in enumerate(table.rows):
        if row.section is not None:
            rule = [r"\midrule"] if place else []
            heading = rf"\multicolumn{{{len(table.columns)}}}{{@{{}}l}}{{\emph{{{escaping.latex(row.section)}}}}} \\"
            lines += [*rule, heading]
        lines.append(" & ".join(_latex_cell(cell, notes) for cell in row.cells) + r" \\[2pt]")
        lines += _latex_sources(table, row.cells)
    lines += [r"\bottomrule", r"\end{tabular}}"]
    if notes:
        said = " ".join(rf"\textsuperscript{{{mark}}}~{escaping.latex(why)}" for why, mark in notes.items())
        lines += [r"\par\vspace{3pt}", rf"\parbox{{\textwidth}}{{\raggedright\scriptsize {said}}}"]
    return "\n".join([*lines, r"\end{table*}"]) + "\n"


def _latex_title(column: Column) -> str:
    """Return a column's title, a long one on two lines."""
    words = column.title.split(" ")
    if len(column.title) <= _LONG_TITLE or len(words) == 1:
        return escaping.latex(column.title)
    lengths = [len(" ".join(words[:place])) for place in range(1, len(words))]
    half = min(range(len(lengths)), key=lambda place: abs(lengths[place] - len(column.title) / 2)) + 1
    first, second = (escaping.latex(" ".join(part)) for part in (words[:half], words[half:]))
    return rf"\shortstack[{'r' if column.numeric else 'l'}]{{{first}\\{second}}}"


def _latex_cell(cell: Cell, notes: Mapping[str, str]) -> str:
    mark = rf"\textsuperscript{{{notes[cell.reason]}}}" if cell.reason else ""
    if cell.text is not None or cell.is_empty:
        return escaping.latex(plain(cell)) + mark
    deviation = rf"\,{{\scriptsize$\pm$\,{cell.stdev:.{cell.digits}f}}}" if cell.stdev is not None else ""
    first = f"{_minus(cell.number())}{deviation}{mark}"
    below = [_minus(part).replace("<", "$<$") for part in (spread_of(cell), p_of(cell)) if part]
    if not below:
        return first
    lines = r"\\".join([first, *(rf"{{\scriptsize {part}}}" for part in below)])
    return rf"\begin{{tabular}}[t]{{@{{}}r@{{}}}}{lines}\end{{tabular}}"


def _minus(numbers: str) -> str:
    return numbers.replace("-", "$-$")


def _latex_sources(table: Table, cells: tuple[Cell, ...]) -> list[str]:
    return [
        f"% {column.key}: {escaping.latex_comment(', '.join(cell.sources))}"
        for column, cell in zip(table.columns, cells, strict=True)
        if cell.sources and cell.value is not None
    ]


_PARTS: tuple[tuple[str, Callable[[Cell], object]], ...] = (
    ("stdev", lambda cell: cell.stdev),
    ("low", lambda cell: cell.low),
    ("high", lambda cell: cell.high),
    ("p", lambda cell: cell.p),
    ("reason", lambda cell: cell.reason),
    ("sources", lambda cell: ";".join(cell.sources) or None),
)


def render_csv(table: Table) -> str:
    """Return the table as CSV with full precision: a column a value, and one for each spread, reason and source it has."""
    parts = [(column, _parts_of(table, column)) for column in table.columns]
    header = ["section"]
    for column, extra in parts:
        header += [column.key, *(f"{column.key}_{name}" for name, _ in extra)]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    section = ""
    for row in table.rows:
        section = row.section if row.section is not None else section
        fields = [escaping.csv(section)]
        for (_, extra), cell in zip(parts, row.cells, strict=True):
            fields.append(escaping.csv(cell.text) if cell.text is not None else _exact(cell.value))
            fields += [_exact(part(cell)) for _, part in extra]
        writer.writerow(fields)
    return stream.getvalue()


def _parts_of(table: Table, column: Column) -> list[tuple[str, Callable[[Cell], object]]]:
    cells = table.column(column.key)
    return [(name, part) for name, part in _PARTS if any(part(cell) is not None for cell in cells)]


def _exact(value: object) -> str:
    if value is None:
        return ""
    return escaping.csv(value) if isinstance(value, str) else repr(value)


def render_json(table: Table) -> str:
    """Return the table as the JSON of its schema."""
    return table.canonical_bytes().decode()


RENDERERS: dict[str, Renderer] = {
    "md": render_markdown,
    "tex": render_latex,
    "csv": render_csv,
    "json": render_json,
}
