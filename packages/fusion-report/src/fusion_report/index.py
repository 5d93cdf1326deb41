"""The index of a report, and a LaTeX paper that reads in its tables, figures and drafts."""

from __future__ import annotations

from collections.abc import Mapping

from fusion_report import escaping
from fusion_report.checklist import Checklist
from fusion_report.figures.style import Figure
from fusion_report.rendering import render_markdown
from fusion_report.study import Study
from fusion_report.table import Table

_PACKAGES = r"""\documentclass[10pt,twocolumn]{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage{lmodern,textcomp,booktabs,graphicx,amssymb}
\usepackage[margin=2cm]{geometry}
\emergencystretch=3em
\begin{document}
"""
_WIDE = ("bootstrap",)  # figures over both columns
_FLOATS = 8  # between which all floats are put out, as LaTeX holds no more than 18


def render_index(study: Study, tables: Mapping[str, Table], figures: Mapping[str, Figure], verdicts: Checklist) -> str:
    """Return the index in Markdown: the verdicts, every table and every figure, with the reason where there is none."""
    card = study.results.card
    passed = sum(line.verdict == "pass" for line in verdicts.lines if not line.stand_in)
    asked = sum(not line.stand_in for line in verdicts.lines)
    parts = [
        f"# Report of {escaping.markdown(card.name)} ({card.tier} tier)",
        f"[Checklist](checklist.md): {passed} of {asked} lines of the plan pass. Drafts: [methods](methods.md),"
        " [experiments](experiments.md). Every table is here as Markdown, LaTeX, CSV and JSON, every figure as SVG, PNG and PDF.",
        "## Tables",
        *(render_markdown(table).rstrip() for table in tables.values()),
        "## Figures",
        *(_figure(figure) for figure in figures.values()),
    ]
    return "\n\n".join(parts) + "\n"


def _figure(figure: Figure) -> str:
    heading = f"### {escaping.markdown(figure.title)}"
    if figure.chart is None:
        return f"{heading}\n\nNot drawn: {escaping.markdown(figure.reason or '')}"
    caption = " ".join(escaping.markdown(sentence) for sentence in figure.caption)
    comment = f"<!-- {escaping.markdown_comment(', '.join(figure.sources))} -->"
    return f"{heading}\n\n![{escaping.markdown(figure.title)}](figures/{figure.key}.svg)\n\n{caption} {comment}"


def render_paper(tables: Mapping[str, Table], figures: Mapping[str, Figure]) -> str:
    """Return a paper that pdflatex makes of the report's folder: drafts, tables and figures."""
    parts = [_PACKAGES, r"\input{methods.tex}", r"\input{experiments.tex}", r"\clearpage"]
    parts += [
        rf"\input{{tables/{name}.tex}}" + (r"\clearpage" if place % 3 == 2 else "") for place, name in enumerate(tables)
    ]
    drawn = [figure for figure in figures.values() if figure.chart is not None]
    for place, figure in enumerate(drawn):
        parts.append(_float(figure) + (r"\clearpage" if place % _FLOATS == _FLOATS - 1 else ""))
    return "\n".join([*parts, r"\end{document}"]) + "\n"


def _float(figure: Figure) -> str:
    kind = "figure*" if figure.key in _WIDE else "figure"
    caption = " ".join(escaping.latex(sentence) for sentence in figure.caption)
    return "\n".join(
        [
            rf"\begin{{{kind}}}[t]\centering",
            rf"\includegraphics[width=\ifdim\linewidth<\textwidth\linewidth\else 0.9\textwidth\fi]{{figures/{figure.key}.pdf}}",
            rf"\caption{{\textbf{{{escaping.latex(figure.title)}.}} {caption}}}",
            rf"\label{{fig:{figure.key}}}",
            rf"% {escaping.latex_comment(', '.join(figure.sources))}",
            rf"\end{{{kind}}}",
        ]
    )
