"""The draft of a paper's experiments section: what the tables say, in sentences, each number with the file that it comes from.

The words follow the intervals: «ahead» and «behind» are said where the 95% interval of the paired difference leaves 0 out,
«level» where it
does not.
"""

from __future__ import annotations

from collections.abc import Mapping

from fusion_report.checklist import Checklist
from fusion_report.experiments_video import video_paragraphs
from fusion_report.groups import REFERENCE
from fusion_report.prose import Number, Paragraph
from fusion_report.sentences import cell_of, listed, shown, titles_between, verb
from fusion_report.study import Study
from fusion_report.table import Table

Tables = Mapping[str, Table]
TITLE = "Experiments"


def experiment_sections(study: Study, tables: Tables, verdicts: Checklist) -> dict[str, list[Paragraph]]:
    """Return the section by heading.

    Args:
        study: the study.
        tables: its tables by name.
        verdicts: its checklist.
    """
    card = study.results.card
    return {
        "Setting": [
            [f"The study «{card.name}» is of the {card.tier} tier. ", *_captions(tables["main-results"])],
            ["What no run has measured is named at the end of this section."],
        ],
        "Main results": _main(tables["main-results"]),
        "Self-critical training and the auxiliary loss": _differences(tables["objectives"], "objective", "its start"),
        "Decoding": _differences(tables["decoding"], "decoding", "beam search"),
        "Ablations": _differences(tables["ablations"], "setting", "its default"),
        "Retention": _retention(tables["retention"]),
        "The second modality": video_paragraphs(tables),
        "Cost": _cost(tables["cost"]),
        "Verdicts": [[f"{line.verdict}: {line.requirement}"] for line in verdicts.lines],
        "What is missing": [[reason] for reason in missing(study)] or [["Every run of the study is done."]],
    }


def missing(study: Study) -> list[str]:
    """Return a sentence on each run, and each measure of a run, that is not done."""
    found = []
    for run in study.results.runs:
        entry = run.entry
        if entry.reason is not None:
            found.append(f"Run {entry.name} is {entry.status}: {entry.reason}")
        found += [
            f"{name} of run {entry.name} is {measure.status}: {measure.reason}"
            for name, measure in entry.measures.items()
            if measure.reason is not None
        ]
    return found


def _captions(table: Table) -> list[str | Number]:
    return [f"{sentence} " for sentence in table.caption[:3]]


def _main(table: Table) -> list[Paragraph]:
    """Return a paragraph a system: its metrics, its control, its difference to additive, and its size."""
    paragraphs: list[Paragraph] = []
    for row in table.rows:
        name, difference, size = (
            row.cells[0].text or "",
            cell_of(table, row, "difference"),
            cell_of(table, row, "parameters"),
        )
        metrics = [(title, cell_of(table, row, key)) for key, title in titles_between(table, "system", "difference")]
        known = [(title, cell) for title, cell in metrics if cell.value is not None]
        if not known:
            continue
        parts: list[str | Number] = [f"{name[0].upper()}{name[1:]} reaches "]
        parts += listed((f"{title} ", shown(cell)) for title, cell in known)
        other = cell_of(table, row, "shuffled")
        if other.value is not None:
            parts += [", and with another clip's audio ", shown(other)]
        if size.value is not None:
            parts += [", with ", shown(size), " trainable parameters"]
        if difference.value is not None:
            parts += [f"; to {REFERENCE} it {verb(difference)} ", shown(difference)]
        paragraphs.append([*parts, "."])
    return paragraphs or [["No system has been scored."]]


def _differences(table: Table, key: str, start: str) -> list[Paragraph]:
    """Return a sentence for each row that has a difference."""
    paragraphs: list[Paragraph] = []
    title = next(column.title for column in table.columns if column.key == "difference").removeprefix("Δ ")
    section = ""
    for row in table.rows:
        section = row.section or section
        difference = cell_of(table, row, "difference")
        if difference.value is not None:
            name = row.cells[0].text or ""
            place = f" ({section})" if section and section not in name else ""
            paragraphs.append(
                [
                    f"{name}{place}: in {title.split(' to ')[0]} it {verb(difference)} ",
                    shown(difference),
                    f" against {start}.",
                ]
            )
    return paragraphs or [["No difference has been measured."]]


def _retention(table: Table) -> list[Paragraph]:
    paragraphs: list[Paragraph] = []
    for row in table.rows:
        system, condition = row.cells[0].text or "", row.cells[1].text or ""
        for stage, words in (("xe", "after cross-entropy"), ("scst", "after self-critical training")):
            delta, bound, verdict = (cell_of(table, row, f"{name}_{stage}") for name in ("delta", "bound", "verdict"))
            if delta.value is None:
                continue
            if verdict.text == "identical":
                said: list[str | Number] = [" every logit is ", Number("the same to the bit", verdict.sources)]
            else:
                said = [" accuracy changes by ", shown(delta), " points, bound ", shown(bound)]
            paragraphs.append([f"{system}, heard {condition}, {words}:", *said, f" ({verdict.text})."])
    return paragraphs or [["Retention was not measured."]]


def _cost(table: Table) -> list[Paragraph]:
    paragraphs: list[Paragraph] = []
    for row in table.rows:
        hours, step, target = (cell_of(table, row, key) for key in ("hours", "step_seconds", "target"))
        if hours.value is not None:
            parts: list[str | Number] = [f"{row.cells[0].text} trained for ", shown(hours), " h"]
            if step.value is not None:
                parts += [", ", shown(step), " s a step"]
            if target.text is not None:
                parts += ["; hours to the target: ", Number(target.text, target.sources)]
            paragraphs.append([*parts, "."])
    return paragraphs or [["No cost has been measured."]]
