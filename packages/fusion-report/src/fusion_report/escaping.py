"""Text of unknown origin, made safe for Markdown, LaTeX and CSV; what is shown stays what was written, as far as it can be.

Captions come from models and from people: they may hold markup, commands, writing from right to left, control characters or no
end. Nothing of them may be executed, change what stands beside them, or break the file.
"""

from __future__ import annotations

import re
import unicodedata

LONGEST = 240  # characters of one text in a table
_FIRST_STRONG_ISOLATE, _POP_ISOLATE = "\u2068", "\u2069"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

_LONG_WORD, _PART = 28, 8  # characters of a word that LaTeX cannot break itself, and of its parts
_CENTRAL_EUROPE = "ĂăĄąĆćČčĎďĐđĘęĚěĞğĹĺĽľŁłŃńŇňŐőŔŕŘřŚśŞşŠšŢţŤťŮůŰűŸŹźŻżŽž"

_MARKDOWN = re.compile(r"([\\`*_\[\]|~$#])")
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    "-": r"{-}",
    "«": r"\guillemotleft{}",
    "»": r"\guillemotright{}",
    "±": r"\ensuremath{\pm}",
    "×": r"\ensuremath{\times}",
    "·": r"\ensuremath{\cdot}",
    "−": r"\ensuremath{-}",
    "≥": r"\ensuremath{\geq}",
    "≤": r"\ensuremath{\leq}",
    "≈": r"\ensuremath{\approx}",
    "√": r"\ensuremath{\surd}",
    "–": r"\textendash{}",
    "—": r"\textemdash{}",
    "…": r"\ldots{}",
    "“": r"\textquotedblleft{}",
    "”": r"\textquotedblright{}",
    "‘": r"\textquoteleft{}",
    "’": r"\textquoteright{}",
    "\u00a0": "~",
    "α": r"\ensuremath{\alpha}",
    "β": r"\ensuremath{\beta}",
    "γ": r"\ensuremath{\gamma}",
    "ρ": r"\ensuremath{\rho}",
    "σ": r"\ensuremath{\sigma}",
    "Δ": r"\ensuremath{\Delta}",
    "Σ": r"\ensuremath{\Sigma}",
}


def shortened(text: str, longest: int = LONGEST) -> str:
    """Return a text on one line, cut where it is longer, with how long it was."""
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[:longest].rstrip()} … ({len(line):,} characters)"


def _visible(text: str) -> str:
    """Return a text whose control and formatting characters are named instead of obeyed; line ends become spaces.

    The joiner inside an emoji stays: it only joins pictures.
    """
    return "".join(_named(character) for character in " ".join(text.split()))


def _named(character: str) -> str:
    if character == "\u200d" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn"):
        return character
    return f"U+{ord(character):04X}"


def _turns(text: str) -> bool:
    return any(unicodedata.bidirectional(character) in ("R", "AL", "AN") for character in text)


def markdown(text: str) -> str:
    """Return a text for a Markdown table or paragraph: no markup, no HTML, on one line, its direction kept to itself."""
    safe = _visible(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    safe = _MARKDOWN.sub(r"\\\1", safe)
    return f"{_FIRST_STRONG_ISOLATE}{safe}{_POP_ISOLATE}" if _turns(safe) else safe


def markdown_comment(text: str) -> str:
    """Return a text for an HTML comment, which must not end it."""
    return _visible(text).replace("--", "- -").replace(">", "&gt;")


def latex(text: str) -> str:
    """Return a text for LaTeX; a character that pdflatex's own fonts lack is named by its code."""
    return " ".join(_breakable(word) for word in _visible(text).split(" "))


def _breakable(word: str) -> str:
    """Return a word for LaTeX; one that is longer than any line, such as a hash, may be broken."""
    parts = [word[start : start + _PART] for start in range(0, len(word), _PART)] if len(word) > _LONG_WORD else [word]
    return r"\allowbreak{}".join("".join(_latex(character) for character in part) for part in parts)


def _latex(character: str) -> str:
    if character in _LATEX:
        return _LATEX[character]
    if character.isascii() or _has_t1_glyph(character):
        return character
    return rf"\texttt{{U+{ord(character):04X}}}"


def _has_t1_glyph(character: str) -> bool:
    """Say whether LaTeX's T1 encoding has the letter: those of western and central Europe."""
    return ("\u00c0" <= character <= "\u00ff" and character.isalpha()) or character in _CENTRAL_EUROPE


def latex_comment(text: str) -> str:
    """Return a text for a LaTeX comment: one line of ASCII."""
    return _visible(text).encode("ascii", "backslashreplace").decode()


def csv(text: str) -> str:
    """Return a text for a CSV field on one line; a spreadsheet does not take it for a formula."""
    safe = _visible(text)
    return f"'{safe}" if safe.startswith(_FORMULA) else safe
