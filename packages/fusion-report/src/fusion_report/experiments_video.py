"""What the tables say of watching: what it is worth in captions and in answers, and what became of the earlier skills."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fusion_report.prose import Number, Paragraph
from fusion_report.sentences import cell_of, listed, shown, titles_between, verb
from fusion_report.table import Row, Table


def video_paragraphs(tables: Mapping[str, Table]) -> list[Paragraph]:
    """Return a paragraph a row of the tables on the second modality, each naming the runs that it is about."""
    found = [
        *_captions(tables["video"]),
        *_answers(tables["answers"]),
        *_earlier(tables["earlier-skills"]),
    ]
    return found or [["No run has video."]]


def _by_group(table: Table) -> Iterator[tuple[str, Row]]:
    """Yield each row with the runs that it is about, which its section names at their first row."""
    group = ""
    for row in table.rows:
        group = row.section or group
        yield group, row


def _captions(table: Table) -> Iterator[Paragraph]:
    key, title = titles_between(table, "heard", "difference")[0]
    for group, row in _by_group(table):
        value, difference = cell_of(table, row, key), cell_of(table, row, "difference")
        if value.value is not None:
            parts: list[str | Number] = [f"{group}, bound {row.cells[0].text}: {title} ", shown(value)]
            if difference.value is not None:
                parts += [f"; with every modality it {verb(difference)} ", shown(difference)]
            yield [*parts, "."]


def _answers(table: Table) -> Iterator[Paragraph]:
    kinds = [
        (column.key, column.title) for column in table.columns if column.numeric and not column.key.startswith("differ")
    ]
    for group, row in _by_group(table):
        known = [(title, cell) for key, title in kinds if (cell := cell_of(table, row, key)).value is not None]
        if known:
            values = listed((f"{title} ", shown(cell)) for title, cell in known)
            yield [f"{group}, bound {row.cells[0].text}, questions answered rightly: ", *values, "."]


def _earlier(table: Table) -> Iterator[Paragraph]:
    for group, row in _by_group(table):
        before, after, change, bound = (cell_of(table, row, key) for key in ("before", "after", "difference", "bound"))
        verdict = cell_of(table, row, "verdict").text
        if change.value is None:
            continue
        parts: list[str | Number] = [f"{group}, {row.cells[0].text}: from ", shown(before), " to ", shown(after)]
        if verdict == "identical":
            yield [*parts, ", ", Number("the same to the bit", change.sources), "."]
            continue
        parts += [", Δ ", shown(change), *([", bound ", shown(bound)] if bound.value is not None else [])]
        yield [*parts, f" ({verdict})." if verdict else "."]
