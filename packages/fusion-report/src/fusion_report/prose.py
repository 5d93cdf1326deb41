"""Sentences with numbers that say where they come from: after each number a comment names its file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fusion_report import escaping


@dataclass(frozen=True)
class Number:
    """A number, or a whole sentence that stands in a file.

    Attributes:
        text: as it is shown.
        sources: the files of the results folder.
    """

    text: str
    sources: tuple[str, ...]


Paragraph = Sequence[str | Number]
Sections = Mapping[str, Sequence[Paragraph]]


def prose_markdown(title: str, sections: Sections) -> str:
    """Return the sections in Markdown."""
    parts = [f"# {escaping.markdown(title)}"]
    for heading, paragraphs in sections.items():
        parts.append(f"## {escaping.markdown(heading)}")
        parts += ["".join(_markdown(part) for part in paragraph) for paragraph in paragraphs]
    return "\n\n".join(parts) + "\n"


def _markdown(part: str | Number) -> str:
    if isinstance(part, str):
        return _between(part, escaping.markdown)
    return f"{escaping.markdown(part.text)}<!-- {escaping.markdown_comment(', '.join(part.sources))} -->"


def prose_latex(title: str, sections: Sections) -> str:
    """Return the sections in LaTeX, to be read into a paper."""
    parts = [rf"\section{{{escaping.latex(title)}}}"]
    for heading, paragraphs in sections.items():
        parts.append(rf"\subsection{{{escaping.latex(heading)}}}")
        parts += ["".join(_latex(part) for part in paragraph) for paragraph in paragraphs]
    return "\n\n".join(parts) + "\n"


def _latex(part: str | Number) -> str:
    """Return a part; what follows a comment begins with an empty group, so that its space is not swallowed."""
    if isinstance(part, str):
        return _between(part, escaping.latex)
    return f"{escaping.latex(part.text)}% {escaping.latex_comment(', '.join(part.sources))}\n{{}}"


def _between(text: str, escape: Callable[[str], str]) -> str:
    """Escape a text that stands between numbers, its spaces at both ends kept."""
    if text.isspace():
        return " "
    head = " " if text[:1].isspace() else ""
    tail = " " if text[-1:].isspace() else ""
    return f"{head}{escape(text.strip())}{tail}"
