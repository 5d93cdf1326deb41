"""Five annotators describe a scene, each by a policy of its own.

They choose words, connectives, details, whether to count, and whether to say how loud or where in the clip. Choices are not
independent, because a sound suggests words to whoever hears it: each event has an impression, which annotators follow more
often than not; its phrase depends on the character of the sound, so that it can be heard. A caption has 8 to 14 words; an
annotator that runs over or under tries again, terser or wordier.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from fusion_core.errors import DataError
from fusion_train.datasets.scenes.graph import PlannedEvent, Scene
from fusion_train.datasets.scenes.options import SPLITS
from fusion_train.datasets.scenes.vocabulary import sound

MINIMUM_WORDS, MAXIMUM_WORDS = 8, 14
LOUD, FAINT = 15.0, 8.0
"""Levels (dB over the background) from which an event is called loud, and up to which it is called faint."""

LONG, BRIEF = 3.0, 1.5
"""Lengths (s) from which a sustained event is said to last, and up to which it is called brief."""

PHRASE_WEIGHTS = (0.55, 0.18, 0.12, 0.08, 0.07)
"""How often an annotator takes the first, second, … phrase of a class."""

FOLLOWED = 0.9
"""How often an annotator takes the words that the sound suggests, rather than words of their own."""

DETAILED, COUNTED, COUNTED_ONCE = 0.5, 0.65, 0.25
"""How often a sound suggests a detail, its number of shots, and, where there is but one, «once»."""

COUNTS = {1: "once", 2: "twice", 3: "three times", 4: "four times"}
POSITIONS = (
    ("at first", "early on", "at the start", "to begin with"),
    ("midway through", "halfway through", "in the middle", "partway through"),
    ("near the end", "towards the end", "later on", "to finish"),
)
QUIET = (
    "without background noise",
    "in silence otherwise",
    "in a quiet place",
    "against a silent background",
    "with nothing behind it",
)
BEHIND = (" in the background", " throughout", " all along", " behind it")

_ATTEMPTS = 60
_TERSE = 0.9
"""Above this terseness an annotator takes the shortest phrases and leaves out all it may."""


@dataclass(frozen=True)
class Impression:
    """The words that an event suggests: a phrase of its class (by number), a detail or none, and whether to count."""

    phrase: int
    detail: str
    counted: bool

    @classmethod
    def draw(cls, event: PlannedEvent, generator: np.random.Generator, position: float) -> Impression:
        """Return a random impression of an event; ``position`` from 0 to 1 picks the phrase, the first ones most often."""
        entry = sound(event.sound_class)
        bounds = np.cumsum(PHRASE_WEIGHTS[: len(entry.phrases)])
        phrase = int(np.searchsorted(bounds, position * bounds[-1]))
        detailed = len(entry.details) > 0 and generator.random() < DETAILED
        detail = entry.details[int(generator.integers(len(entry.details)))] if detailed else ""
        counted = event.count is not None and generator.random() < (COUNTED if event.count > 1 else COUNTED_ONCE)
        return cls(min(phrase, len(entry.phrases) - 1), detail, bool(counted))


class Annotator:
    """Makes the parts of one annotator's sentence; ``terse`` from 0 (says all it can) to 1 (only what it must)."""

    def __init__(self, scene: Scene, impressions: Sequence[Impression], generator: np.random.Generator) -> None:
        self.scene = scene
        self.impressions = impressions
        self.generator = generator
        self.terse = 0.5

    def choose(self, *options: str) -> str:
        """Return one of the options."""
        return options[int(self.generator.integers(len(options)))]

    def adds(self, probability: float) -> bool:
        """Say whether an optional part is added; ``probability`` holds for a terseness of one half."""
        return bool(self.generator.random() < 2 * probability * (1 - self.terse))

    def impression(self, event: PlannedEvent) -> Impression:
        """Return the words that the annotator has in mind for an event."""
        if self.generator.random() < FOLLOWED:
            return self.impressions[self.scene.events.index(event)]
        return Impression.draw(event, self.generator, self.generator.random())

    def say(self, event: PlannedEvent, form: str = "finite", vague: bool = False) -> str:
        """Return an event in one of the forms of ``Phrase``, perhaps with how often it sounds and with a detail."""
        entry = sound(event.sound_class)
        if vague:
            return str(getattr(entry.generic, form))
        if self.terse > _TERSE:
            return str(getattr(min(entry.phrases, key=lambda phrase: phrase.words), form))
        impression = self.impression(event)
        words: str = getattr(entry.phrases[impression.phrase], form)
        if event.count is not None and impression.counted and self.adds(1.0):
            words = f"{words} {COUNTS[event.count]}"
        if entry.details and self.adds(1.0 if impression.detail else 0.05):
            words = f"{words} {impression.detail or self.choose(*entry.details)}"
        return words

    def manner(self, event: PlannedEvent) -> str:
        """Return « loudly», « for a while» and the like where it is true of the event, or nothing."""
        sustained = event.count is None
        if event.level >= LOUD and self.adds(0.3):
            return " loudly"
        if event.level <= FAINT and self.adds(0.3):
            return self.choose(" faintly", " quietly")
        if sustained and event.seconds >= LONG and self.adds(0.3):
            return self.choose(" for a while", " for some time")
        if sustained and event.seconds <= BRIEF and self.adds(0.3):
            return self.choose(" briefly", " for a moment")
        return ""

    def where(self, event: PlannedEvent) -> str:
        """Return in which third of the clip an event begins."""
        return self.choose(*POSITIONS[min(2, int(3 * event.onset / self.scene.seconds))])

    def pad(self, sentence: str, event: PlannedEvent) -> str:
        """Return a sentence that is long enough where saying when an event comes, or that the rest is quiet, makes it so."""
        parts = [self.where(event)]
        if self.scene.background is None and not sentence.endswith(QUIET):
            parts.insert(0, self.choose(*QUIET))
        for part in parts:
            if len(sentence.split()) < MINIMUM_WORDS:
                sentence = f"{sentence} {part}"
        return sentence

    def backdrop(self, sentence: str) -> str:
        """Return a sentence with the background, where there is one, before or after it."""
        event = self.scene.background
        if event is None:
            return sentence
        if self.terse > _TERSE:
            return f"{sentence} as {self.say(event)}"
        behind = self.choose(*BEHIND) if self.adds(0.3) else ""
        form, word = (("ongoing", "while"), ("finite", "as"), ("participle", "with"))[int(self.generator.integers(3))]
        part = f"{word} {self.say(event, form)}"
        return f"{part}, {sentence}" if self.adds(0.25) else f"{sentence} {part}{behind}"

    def sequence(self, events: Sequence[PlannedEvent], vague: PlannedEvent | None = None) -> str:
        """Return events in the order of their onsets; those that overlap are joined by «while» or «as»."""
        sentence = self.say(events[0], vague=events[0] is vague)
        for number, (before, event) in enumerate(pairwise(events)):
            if event.onset < before.offset:
                form, word = (("ongoing", "while"), ("finite", "as"))[int(self.generator.integers(2))]
                sentence += f" {word} {self.say(event, form, event is vague)}"
            else:
                sentence += self._then(event, event is vague, number > 0)
        return sentence

    def _then(self, event: PlannedEvent, vague: bool, third: bool) -> str:
        """Return an event that follows another, with the word that says so."""
        clause = self.say(event, vague=vague)
        if self.terse > _TERSE:
            return f", then {clause}"
        if third:
            return self.choose(f" and then {clause}", f", and finally {clause}", f", and lastly {clause}")
        followed = f", followed by {self.say(event, 'participle', vague)}"
        ways = (f", then {clause}", f" and then {clause}", f" before {clause}", f", and afterwards {clause}", followed)
        return self.choose(*ways)


def full_order(annotator: Annotator) -> str:
    """Everything that sounds, in order."""
    events = annotator.scene.foreground
    return annotator.pad(annotator.backdrop(annotator.sequence(events)), events[0])


def salient_only(annotator: Annotator) -> str:
    """What stands out most, and nothing else."""
    event = annotator.scene.salient
    where, manner = annotator.where(event), annotator.manner(event)
    clause, part = annotator.say(event), annotator.say(event, "participle")
    frames = [
        f"{clause}{manner} {where}",
        f"{where}, {clause}{manner}",
        f"{part}{manner} stands out {where}",
        f"{part}{manner} is the main sound {where}",
    ]
    if len(annotator.scene.events) > 1:
        frames.append(f"{clause}{manner}, louder than {annotator.choose('all else', 'anything else', 'the rest')}")
    return annotator.choose(*frames)


def foreground_and_background(annotator: Annotator) -> str:
    """What stands out most, against what lies behind it."""
    event, background = annotator.scene.salient, annotator.scene.background
    clause = annotator.say(event) + annotator.manner(event)
    if background is None:
        return annotator.pad(f"{clause} {annotator.choose(*QUIET)}", event)
    behind = annotator.choose(*BEHIND)
    frames = (
        f"{clause} while {annotator.say(background, 'ongoing')}{behind}",
        f"{annotator.say(background)} while {annotator.say(event, 'ongoing')} in front",
        f"{clause} up close as {annotator.say(background)}{behind}",
        f"with {annotator.say(background, 'participle')}{behind}, {clause}",
        f"{clause} over the sound of {annotator.say(background, 'participle')}",
    )
    return annotator.choose(*frames)


def generic_word(annotator: Annotator) -> str:
    """What stands out most and another event, one of them by a word so vague that it names no class."""
    events = annotator.scene.foreground
    salient = annotator.scene.salient
    vague = min((event for event in events if event is not salient), key=lambda event: event.level, default=salient)
    told = [event for event in events if event is salient or event is vague]
    sentence = annotator.sequence(told, vague)
    if len(told) == 1 or annotator.adds(0.5):
        sentence = annotator.backdrop(sentence)
    return annotator.pad(sentence, told[0])


def noun_phrase(annotator: Annotator) -> str:
    """Everything that sounds, in the style of a headline: no finite verb and no articles."""
    events, background = annotator.scene.foreground, annotator.scene.background
    sentence = annotator.say(events[0], "headline")
    for number, (before, event) in enumerate(pairwise(events)):
        part = annotator.say(event, "headline")
        if event.onset < before.offset:
            sentence += annotator.choose(f" along with {part}", f" together with {part}", f" and {part} at once")
        elif number == len(events) - 2:
            sentence += annotator.choose(f" and then {part}", f" followed by {part}", f", then {part}")
        else:
            sentence += f", {part}"
    if background is not None:
        behind = annotator.choose(*BEHIND) if annotator.adds(0.3) else ""
        part = annotator.say(background, "headline")
        ways = (f"{sentence} with {part}{behind}", f"{sentence}, {part}{behind}", f"{sentence} over {part}")
        sentence = f"{part}, {sentence}" if annotator.adds(0.2) else annotator.choose(*ways)
    if annotator.adds(0.15):
        sentence = f"sound of {sentence}"
    return annotator.pad(sentence, events[0])


POLICIES: tuple[Callable[[Annotator], str], ...] = (
    full_order,
    salient_only,
    foreground_and_background,
    generic_word,
    noun_phrase,
)
"""The five policies, in the order of the references of a clip."""


def annotate(scene: Scene, seed: int) -> tuple[str, ...]:
    """Return the five captions of a scene, in the order of ``POLICIES``; they depend on the scene and the seed alone.

    Raises:
        DataError: the names of the classes are too long for a caption of 14 words.
    """
    generator = np.random.default_rng([seed, SPLITS.index(scene.split), scene.index, 2])
    impressions = [Impression.draw(event, generator, event.source.character) for event in scene.events]
    return tuple(_fit(Annotator(scene, impressions, generator), policy) for policy in POLICIES)


def words_needed(foreground: Sequence[str], background: str | None) -> int:
    """Return the length in words of the tersest caption that names all these classes in order."""
    names = [*foreground, *([background] if background else [])]
    phrases = sum(min(phrase.words for phrase in sound(name).phrases) for name in names)
    return phrases + len(foreground) - 1 + (background is not None)


def _fit(annotator: Annotator, policy: Callable[[Annotator], str]) -> str:
    """Return the first caption of a policy that is neither too short nor too long."""
    for _ in range(_ATTEMPTS):
        sentence = policy(annotator)
        words = len(sentence.split())
        if MINIMUM_WORDS <= words <= MAXIMUM_WORDS:
            return f"{sentence[0].upper()}{sentence[1:]}."
        step = 0.05 if words > MAXIMUM_WORDS else -0.1
        annotator.terse = min(1.0, max(0.0, annotator.terse + step))
    names = ", ".join(event.sound_class for event in annotator.scene.events)
    raise DataError(f"No caption of {MINIMUM_WORDS} to {MAXIMUM_WORDS} words names {names}; shorten the labels.")
