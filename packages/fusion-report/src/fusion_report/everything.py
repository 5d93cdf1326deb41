"""The whole report in one folder: tables, figures, checklist, drafts, model cards, index; only what changed is written.

What a picture shows decides whether it is drawn again: its chart, with all its data, is hashed. Texts are compared with what lies
there. No file holds a time or a place, so equal results give equal bytes. What an earlier report left and this
one does not make is removed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from fusion_eval.errors import DataError
from fusion_eval.files import write_atomic

from fusion_report.adapter_card import releases, render_adapter_card
from fusion_report.bootstrap import bootstrap_chart
from fusion_report.checklist import Checklist, checklist, render_checklist
from fusion_report.experiments import TITLE as EXPERIMENTS
from fusion_report.experiments import experiment_sections
from fusion_report.figures.catalogue import FIGURES
from fusion_report.figures.style import FORMATS, Figure, digest, render, specification
from fusion_report.index import render_index, render_paper
from fusion_report.methods_draft import TITLE as METHODS
from fusion_report.methods_draft import Protocol, method_sections
from fusion_report.prose import prose_latex, prose_markdown
from fusion_report.rendering import RENDERERS
from fusion_report.study import Study
from fusion_report.table import Table
from fusion_report.tables.catalogue import TABLES
from fusion_report.tables.comparisons import best_baseline, compare_to_additive

LEDGER = ".report.json"


@dataclass
class Written:
    """What a report wrote, kept and removed, by place in its folder."""

    drawn: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    verdicts: Checklist | None = None
    not_drawn: dict[str, str] = field(default_factory=dict)


class ReportFolder:
    """A folder of outputs with a ledger of what each was made from."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.written = Written()
        self.before = self._read()
        self.ledger: dict[str, dict[str, str]] = {}

    def _read(self) -> dict[str, dict[str, str]]:
        try:
            content = json.loads((self.root / LEDGER).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def text(self, place: str, content: str) -> None:
        """Write a text where it differs from what lies there."""
        data = content.encode()
        self.make(place, hashlib.sha256(data).hexdigest(), lambda: data)

    def make(self, place: str, source: str, content: Callable[[], bytes]) -> None:
        """Make a file unless it lies there, whole, made from the same source."""
        path, entry = self.root / place, self.before.get(place, {})
        if entry.get("source") == source and _sha256(path) == entry.get("sha256"):
            self.ledger[place] = entry
            self.written.kept.append(place)
            return
        data = content()
        write_atomic(path, data)
        self.ledger[place] = {"source": source, "sha256": hashlib.sha256(data).hexdigest()}
        self.written.drawn.append(place)

    def close(self) -> Written:
        """Remove what an earlier report left and nobody made now, and write the ledger."""
        for place in sorted(set(self.before) - set(self.ledger)):
            path = self.root / place
            if path.resolve().is_relative_to(self.root.resolve()) and _sha256(path) == self.before[place].get("sha256"):
                path.unlink()
                self.written.removed.append(place)
        content = json.dumps(self.ledger, sort_keys=True, indent=1) + "\n"
        write_atomic(self.root / LEDGER, content.encode())
        return self.written


def _sha256(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def build_report(
    study: Study,
    out: Path,
    audio_protocol: Protocol,
    progress: Callable[[list[str]], Iterator[str]] = iter,
) -> Written:
    """Write the report of a study.

    Args:
        study: what it is about.
        out: the folder; what lies there of an earlier report is taken up again.
        audio_protocol: given an encoder's name, sentences on how it hears a clip.
        progress: shows how far the figures are; given their names, yields them.
    """
    folder = ReportFolder(out)
    tables = {name: build(study) for name, build in TABLES.items()}
    write_tables(folder, tables)
    verdicts = checklist(study)
    folder.written.verdicts = verdicts
    folder.text("checklist.md", render_checklist(verdicts))
    folder.text("checklist.json", verdicts.canonical_bytes().decode())
    figures = {}
    for name in progress(list(FIGURES)):
        figures[name] = FIGURES[name](study)
        write_figure(folder, figures[name])
    figures["bootstrap-histogram"] = _histogram(study, folder)
    _write_drafts(study, folder, tables, verdicts, audio_protocol)
    for release in releases(study):
        card = render_adapter_card(study, release, tables["retention"])
        folder.text(f"model-cards/{release.run.entry.name}.md", card)
    folder.text("README.md", render_index(study, tables, figures, verdicts))
    folder.text("paper.tex", render_paper(tables, figures))
    return folder.close()


def write_tables(folder: ReportFolder, tables: dict[str, Table]) -> None:
    """Write tables in every format."""
    for name, table in tables.items():
        for ending, render_table in RENDERERS.items():
            folder.text(f"tables/{name}.{ending}", render_table(table))


def write_figure(folder: ReportFolder, figure: Figure) -> None:
    """Draw a figure in every format; of one that cannot be drawn the reason is kept."""
    if figure.chart is None:
        folder.written.not_drawn[figure.key] = figure.reason or ""
        return
    specified = specification(figure.chart)
    source = digest(specified)
    for ending in FORMATS:
        folder.make(f"figures/{figure.key}.{ending}", source, partial(render, specified, ending))


def _histogram(study: Study, folder: ReportFolder) -> Figure:
    """Write the comparison with the best baseline, and draw how its bootstrap differences lie about zero."""
    key, title = "bootstrap-histogram", "Additive less the best baseline"
    best = best_baseline(study)
    try:
        if best is None:
            raise DataError("The study has no scored system beside the additive one.")
        found, sources = compare_to_additive(study, best, [study.score])
        folder.text("comparisons/additive-less-best-baseline.json", found.canonical_bytes().decode())
        figure = Figure(
            key=key,
            title=title,
            caption=(
                f"Bootstrap differences of additive less {best.label}, the best other system after cross-entropy.",
            ),
            chart=bootstrap_chart(found),
            sources=tuple(sources),
        )
    except DataError as error:
        figure = Figure(key=key, title=title, caption=(), reason=str(error))
    write_figure(folder, figure)
    return figure


def _write_drafts(
    study: Study, folder: ReportFolder, tables: dict[str, Table], verdicts: Checklist, audio_protocol: Protocol
) -> None:
    for name, title, sections in (
        ("methods", METHODS, method_sections(study, audio_protocol)),
        ("experiments", EXPERIMENTS, experiment_sections(study, tables, verdicts)),
    ):
        folder.text(f"{name}.md", prose_markdown(title, sections))
        folder.text(f"{name}.tex", prose_latex(title, sections))
