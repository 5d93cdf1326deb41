"""A tokeniser that gives the tokens of the caption metrics' reference tools, without Java.

Captions are compared token by token, so every metric of the field inherits the tokens of the Penn Treebank tokeniser
that coco-caption runs (CoreNLP 3.4.1, ``-preserveLines -lowerCase``), after which seventeen punctuation tokens are
dropped. The list is upper case while the tokens are lower case: ``-LRB-`` is in it, but ``-lrb-`` stays.

The text is cut at white space and each piece is scanned by rules of which the longest match wins, as in a generated
lexer. A piece is scanned once and remembered, so the usual caption costs one dictionary look-up a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

REMOVED = frozenset(
    ["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";"]
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words that keep their full stop. The second group keeps it only with a capital, the third only before a number.
ABBREVIATIONS = _words(
    """adj adm adv al ala apr ariz assn assoc asst atty aug ave bldg blvd brig bros calif capt cf cmdr co col colo conn
    corp cos cpl ct dec dept dr drs elec ens esq est etc ext feb fla fri ft ga gen gov govs hon inc ind insp intl jan jr
    jul jun kan kans ky lieut lt ltd maj mar md messrs mfg mich minn mlle mme mo mon mont mr mrs ms msgr mt natl neb nev
    nov oct okla penn pfc ph plc pres prof profs pty pvt rd rep reps rev rt sen sens sep sept seq sgt sq sr st ste supt
    tel tenn thu thurs treas tue tues univ va vs vt wed wis wm wyo"""
)
CAPITAL_ABBREVIATIONS = _words("ark del ill la mass miss ore pa tex wash")
NUMBERED_ABBREVIATIONS = _words("art ca fig figs no nos op pp prop")

# After a single letter and a full stop these words begin a sentence, so the full stop is the sentence's.
SENTENCE_STARTERS = _words(
    """a about according additionally after an as at but earlier he her here however if in it last many more now once
    one other our she since so some such that the their then there these they this we what when while yet you"""
)

# Longer runs without white space are no words; they are scanned in parts, which keeps the time in proportion.
LONGEST_PIECE = 256

_LETTER = r"(?:[^\W\d_\u00b2\u00b3\u00b9\u00bc-\u00be\u2070-\u209c\u2150-\u218b\u2460-\u24ff]|[\u0300-\u036f\u00ad])"
_ALNUM = rf"(?:{_LETTER}|\d)"
_NUMBER = r"(?:\d*(?:[.:,]\d+)+|\d+)"
_WORD = rf"{_LETTER}{_ALNUM}*(?:[.!?]{_LETTER}{_ALNUM}*)*"
_APOSTROPHE = r"['\u2019\u0092]"
_CLITIC_LETTERS = r"(?:[msdMSD]|[rR][eE]|[vV][eE]|[lL][lL])"
_CLITIC = rf"(?:'{_CLITIC_LETTERS}(?![A-Za-z])|[\u2019\u0092]{_CLITIC_LETTERS})"
_NEGATION = rf"[nN]{_APOSTROPHE}[tT](?![A-Za-z])"
_SLASH_PART = r"[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}"

# Symbols that are tokens of their own. What no rule knows, such as an emoji, is left out of the tokens.
_SYMBOL = (
    r"[+%&~^|\\/=<>@#$\u00a1\u00a5-\u00a9\u00ac\u00ae-\u00b4\u00b6-\u00b9\u00bf\u00d7\u00f7\u2016\u2017\u201a"
    r"\u201e-\u2023\u2030-\u2038\u203b\u203e-\u2042\u2044\u2070-\u209c\u20a4\u2100-\u214f\u2190-\u2775\u2794-\u2bff"
    r"\u3001\u3002\u3012\u30fb\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65]"
)

# Each pattern's group 1 is the token; what follows the group counts for the longest match but is scanned again.
_RULES = tuple(
    re.compile(pattern)
    for pattern in (
        # Contractions, before the words that they are spelt like.
        rf"([A-Za-z0-9]*[A-MO-Za-mo-z])[nN]{_APOSTROPHE}[tT]",
        rf"({_NEGATION})",
        rf"({_WORD}){_CLITIC}",
        rf"({_CLITIC})",
        r"((?i:can))(?i:not)",
        r"((?i:gon|wan))(?i:na)",
        r"((?i:got))(?i:ta)",
        r"((?i:lem|gim))(?i:me)",
        r"('[tT])(?i:is|was)",
        rf"({_APOSTROPHE}[nN](?:{_APOSTROPHE}|$))",
        rf"({_APOSTROPHE}(?:em|[2-9]0s|\d\d$|till?|cause)|[cC]'mon)",
        rf"((?:ol|somethin|[dDlLjJ]){_APOSTROPHE}|[yY]{_APOSTROPHE}(?=[a-z]))",
        rf"([dDlLoO]{_APOSTROPHE}{_ALNUM}{{2,}}(?:-{_ALNUM}+)*|[nA-HJ-XZ]{_APOSTROPHE}{_LETTER}{{2,}})",
        rf"([A-Za-z]+[aeiouyAEIOUY]{_APOSTROPHE}[aeiouA-Z][A-Za-z]*|[eE]{_APOSTROPHE}[eE]r)",
        # Words and compounds.
        rf"({_WORD})",
        rf"({_ALNUM}(?:{_ALNUM}|[.,])*(?:-(?:{_LETTER}(?:\.{_LETTER})+\.|{_ALNUM}+))+)",
        rf"({_SLASH_PART}(?:/{_SLASH_PART}){{1,2}})",
        rf"({_ALNUM}+(?:_{_ALNUM}+)+)",
        r"([A-Z]+(?:[+&][A-Z]+)+)",
        r"(#[A-Za-z]+|@[A-Za-z][A-Za-z0-9_]*)",
        # Numbers and money.
        rf"([-+]?{_NUMBER})",
        rf"(\d+{_LETTER}{_ALNUM}*)",
        r"([A-Z]*\$)",
        # Words with their full stop.
        r"([A-Za-z](?:\.[A-Za-z])+\.|[A-Za-z]\.|[pP][hH]\.[dD]\.)",
        rf"({_ALNUM}+\.)[,;:]",
        # Addresses and tags.
        r"((?:https?://|www\.)[^\s<>|(){}\"]+[^\s<>|(){}\"'.,;:?!-])",
        r"([A-Za-z0-9][^\s<>|(){}\"&@]*@(?:[^\s<>|(){}\".@]+\.)*[^\s<>|(){}\".,;:?!'@]+)",
        r"(<[!?/]?[A-Za-z][^>]*>)",
        # Faces.
        r"([<>]?[:;=][-o*']?[()DPdpO\\{@|\[\]](?![A-Za-z0-9]))",
        r"([\^x=~<>]\.[\^x=~<>]|[-^x=~<>']_[-^x=~<>']|\([-^x=~<>'][_.]?[-^x=~<>']\))",
        # Runs and single signs.
        r"(&(?:amp|lt|gt|quot|apos);)",
        r"(''|``|[?!]+|\*+|_+|@+|<<|>>|\.\.\.|-+)",
        rf"({_SYMBOL}|[()\[\]{{}}\u00bc-\u00be\u00a2-\u00a4\u20ac\u0080\u2153\u2154\u00b5])",
    )
)
_LETTER_AND_STOP = re.compile(r"[A-Za-z]\.")
_ABBREVIATION = re.compile(r"([A-Za-z]+)\.(?![A-Za-z])")

_REWRITTEN = {
    "&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": "''", "&apos;": "'",
    "\u00bc": "1/4", "\u00bd": "1/2", "\u00be": "3/4", "\u2153": "1/3", "\u2154": "2/3",
    "\u00a2": "cents", "\u00a3": "#", "\u00a4": "$", "\u20ac": "$", "\u0080": "$",
    "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-",
}  # fmt: skip
_PARENTHESES = str.maketrans({"(": "-lrb-", ")": "-rrb-", "\u00ad": ""})
_CLITIC_TOKEN = re.compile(rf"{_CLITIC}|{_NEGATION}")


def tokenize(text: str) -> list[str]:
    """Return the tokens of one caption, lower case and without punctuation.

    White space of any kind, line ends too, separates words; control characters and emoji are left out.
    """
    pieces = text.split()
    tokens: list[str] = []
    for index, piece in enumerate(pieces):
        if piece[-1] == "." and index + 1 < len(pieces):
            following = pieces[index + 1]
            starts = following[0].isupper() and following.lower() in SENTENCE_STARTERS
            tokens += _scan(piece, starts, following[0].isdigit())
        else:
            tokens += _scan(piece)
    return tokens


def tokenize_all(texts: Iterable[str]) -> list[list[str]]:
    """Return the tokens of each caption."""
    return [tokenize(text) for text in texts]


def forget_words() -> None:
    """Forget the words that were scanned, so that the next caption takes as long as the first; for timings."""
    _scan.cache_clear()


@lru_cache(maxsize=1 << 16)
def _scan(piece: str, ends_sentence: bool = False, before_number: bool = False) -> tuple[str, ...]:
    """Return the tokens of a piece of text without white space, given what follows the piece."""
    if len(piece) > LONGEST_PIECE:
        parts = (piece[start : start + LONGEST_PIECE] for start in range(0, len(piece), LONGEST_PIECE))
        return tuple(token for part in parts for token in _scan(part))
    tokens: list[str] = []
    position = 0
    while position < len(piece):
        end = max(_longest_match(piece, position), _abbreviation_end(piece, position, before_number))
        if ends_sentence and end == len(piece) and _LETTER_AND_STOP.fullmatch(piece, position):
            end -= 1
        tokens += _written(piece[position:end]).split()
        position = max(end, position + 1)
    return tuple(token for token in tokens if token not in REMOVED)


def _longest_match(piece: str, position: int) -> int:
    """Return where the token at a position ends: by the rule that sees furthest, the first among equals.

    Where no rule matches, the token is empty.
    """
    reach = end = position
    for rule in _RULES:
        match = rule.match(piece, position)
        if match and match.end() > reach:
            reach, end = match.end(), match.end(1)
    return end


def _abbreviation_end(piece: str, position: int, before_number: bool) -> int:
    """Return where a known abbreviation that starts here ends, its full stop included, or 0."""
    match = _ABBREVIATION.match(piece, position)
    if not match:
        return 0
    word = match[1].lower()
    numbered = before_number if match.end() == len(piece) else piece[match.end()].isdigit()
    known = (
        word in ABBREVIATIONS
        or (word in CAPITAL_ABBREVIATIONS and match[1][0].isupper())
        or (word in NUMBERED_ABBREVIATIONS and numbered)
    )
    return match.end() if known else 0


def _written(token: str) -> str:
    """Return a token as the reference tool writes it."""
    if token in _REWRITTEN:
        return _REWRITTEN[token]
    if set(token) == {"-"}:
        return "-"
    if _CLITIC_TOKEN.fullmatch(token):
        token = token.replace("\u2019", "'").replace("\u0092", "'")
    return token.translate(_PARENTHESES).lower()
