"""How people name each sound: phrases, their grammatical forms, and the lexicon by which captions are read back."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from fusion_core.errors import DataError

Kind = Literal["background", "sustained", "shot"]

VAGUE = "something | makes noise | is making noise"
"""What is said of a class for which there is no better vague phrase."""

_ARTICLE = re.compile(r"^(a|an|the)\s+")


@dataclass(frozen=True)
class Phrase:
    """One way to name a sound: «a dog» «barks» «is barking»."""

    subject: str
    verb: str
    progressive: str

    @classmethod
    def parse(cls, text: str) -> Phrase:
        """Read «subject | what it does | what it is doing»."""
        subject, verb, progressive = (part.strip() for part in text.split("|"))
        return cls(subject, verb, progressive)

    @property
    def finite(self) -> str:
        """«a dog barks»."""
        return f"{self.subject} {self.verb}"

    @property
    def ongoing(self) -> str:
        """«a dog is barking»."""
        return f"{self.subject} {self.progressive}"

    @property
    def participle(self) -> str:
        """«a dog barking»."""
        return f"{self.subject} {self.progressive.partition(' ')[2]}"

    @property
    def headline(self) -> str:
        """«dog barking»."""
        return _ARTICLE.sub("", self.participle)

    @property
    def words(self) -> int:
        """The number of words of the finite form."""
        return len(self.finite.split())

    @property
    def entries(self) -> tuple[str, ...]:
        """What a reader looks for: the three forms without their article."""
        return tuple(_ARTICLE.sub("", form) for form in (self.finite, self.ongoing, self.participle))


@dataclass(frozen=True)
class Sound:
    """A class: its part in a scene, its phrases (the usual ones first), its vague phrase, what people like to add."""

    name: str
    kind: Kind
    phrases: tuple[Phrase, ...]
    generic: Phrase
    details: tuple[str, ...] = ()

    @property
    def lexicon(self) -> tuple[str, ...]:
        """Every phrase by which a caption names exactly this class."""
        return tuple(dict.fromkeys(entry for phrase in self.phrases for entry in phrase.entries))


def sound(name: str) -> Sound:
    """Return a class of the table, or one derived from its label where the table does not know it."""
    return _table().get(name) or _derived(name)


def known_sounds() -> tuple[str, ...]:
    """Return the names of the classes that the table knows."""
    return tuple(_table())


def lexicon(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the phrases of each class.

    Raises:
        DataError: a phrase of one class occurs inside a phrase of another, so that captions could not be read back.
    """
    entries = {name: sound(name).lexicon for name in names}
    owners = {entry: name for name, phrases in entries.items() for entry in phrases}
    for entry, name in owners.items():
        for other, owner in owners.items():
            if owner != name and f" {entry} " in f" {other} ":
                raise DataError(
                    f"Classes '{name}' and '{owner}' cannot be told apart («{entry}» in «{other}»); rename one."
                )
    return entries


def _derived(name: str) -> Sound:
    """Return phrases made of a label alone: «typing on a keyboard is heard»."""
    label = re.sub(r"[^a-z0-9 ]+", " ", name.lower()).strip() or "unknown"
    label = re.sub(r"\s+", " ", label)
    templates = ("{} | is heard | is heard", "{} | can be heard | is being heard", "{} | sounds | is sounding")
    phrases = tuple(Phrase.parse(template.format(label)) for template in templates)
    return Sound(name, "sustained", phrases, Phrase.parse(VAGUE))


@cache
def _table() -> dict[str, Sound]:
    text = files(__package__).joinpath("vocabulary.toml").read_text(encoding="utf-8")
    return {
        name: Sound(
            name,
            entry["kind"],
            tuple(Phrase.parse(phrase) for phrase in entry["phrases"]),
            Phrase.parse(entry.get("generic", VAGUE)),
            tuple(entry["details"]),
        )
        for name, entry in tomllib.loads(text).items()
    }
