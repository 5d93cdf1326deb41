"""The scene graphs of SPICE: what captions speak of, with synonyms merged, and how far two graphs agree.

Anderson et al., "SPICE: Semantic Propositional Image Caption Evaluation", ECCV 2016, sections 3.1 and 3.2, as version
1.0 of the published tool computes them. A caption proposes tuples: an object, an object with an attribute, or two
objects with a relation. Each word stands for a concept: the words merged into it and their WordNet synsets. Two concepts
are similar where they share a word or a synset, two tuples where they are similar place by place, and

    P = matched / tuples of the caption,  R = matched / tuples of the references,  SPICE = 2 P R / (P + R)

with matched the number of the caption's tuples that are similar to some tuple of the references.

Where a word could be merged into several concepts equally well, the published tool takes the first in the order of a
table of random hashes; here it is the first that was added, so that a value depends on the captions alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field

Proposal = tuple[str, ...]


@dataclass(eq=False)
class Concept:
    """Words that stand for one thing, and their synsets."""

    words: set[str]
    synsets: set[int]

    def same(self, other: Concept) -> bool:
        """Return whether both have the very same words and synsets."""
        return self.words == other.words and self.synsets == other.synsets

    def similar(self, other: Concept) -> bool:
        """Return whether they share a synset or a word."""
        return not (self.synsets.isdisjoint(other.synsets) and self.words.isdisjoint(other.words))

    def similarity(self, other: Concept) -> float:
        """Return 1 where they share a word, and else the share of their synsets that both have."""
        if not self.words.isdisjoint(other.words):
            return 1.0
        union = len(self.synsets | other.synsets)
        return len(self.synsets & other.synsets) / union if union else 0.0

    def merge(self, other: Concept) -> None:
        """Take in the other's words and synsets."""
        self.words |= other.words
        self.synsets |= other.synsets


@dataclass(eq=False)
class Thing:
    """An object with its attributes."""

    concept: Concept
    attributes: list[Concept] = field(default_factory=list)

    def same(self, other: Thing) -> bool:
        """Return whether they are one, or cannot be told apart by concept and have no attributes."""
        return self is other or (not self.attributes and not other.attributes and self.concept.same(other.concept))


class SceneGraph:
    """What some captions of one clip propose, merged.

    Args:
        captions: each caption's proposals, of one, two or three words: object; object and attribute; two objects and
            their relation.
        synsets: the synsets of every word, relations without a leading "be ".
    """

    def __init__(self, captions: Iterable[Sequence[Proposal]], synsets: Mapping[str, Set[int]]) -> None:
        self._synsets = synsets
        self._things: list[Thing] = []
        self._relations: list[tuple[Thing, Concept, Thing]] = []
        for proposals in captions:
            for proposal in proposals:
                self._add(proposal)

    def tuples(self) -> list[tuple[Concept, ...]]:
        """Return the objects, the attributes with their objects, and the relations with both of theirs."""
        objects = [(thing.concept,) for thing in self._things]
        attributes = [(thing.concept, attribute) for thing in self._things for attribute in thing.attributes]
        relations = [(source.concept, kind, target.concept) for source, kind, target in self._relations]
        return [*objects, *attributes, *relations]

    def _add(self, proposal: Proposal) -> None:
        thing = self._thing(proposal[0])
        if len(proposal) == 2:
            _merge_or_append(self._concept(proposal[1]), thing.attributes)
        elif len(proposal) == 3:
            self._relate(thing, self._thing(proposal[1]), self._concept(relation_word(proposal[2])))

    def _concept(self, word: str) -> Concept:
        return Concept({word}, set(self._synsets[word]))

    def _thing(self, word: str) -> Thing:
        """Return the object that a word means: the same, the most similar, or a new one."""
        concept = self._concept(word)
        nearest, most = None, 0.0
        for thing in self._things:
            if concept.same(thing.concept):
                return thing
            similarity = concept.similarity(thing.concept)
            if similarity > most:
                nearest, most = thing, similarity
        if nearest is None:
            nearest = Thing(concept)
            self._things.append(nearest)
        else:
            nearest.concept.merge(concept)
        return nearest

    def _relate(self, source: Thing, target: Thing, kind: Concept) -> None:
        between = [known for start, known, end in self._relations if source.same(start) and target.same(end)]
        if not _merge_into(kind, between):
            self._relations.append((source, kind, target))


def relation_word(relation: str) -> str:
    """Return a relation as SPICE looks it up: without a leading "be "."""
    return relation.removeprefix("be ")


def words_of(proposals: Iterable[Proposal]) -> set[str]:
    """Return the words whose synsets the proposals need."""
    return {
        relation_word(word) if place == 2 else word for proposal in proposals for place, word in enumerate(proposal)
    }


def agreement(caption: SceneGraph, references: SceneGraph) -> float:
    """Return SPICE of a caption's graph against the graph of its clip's references."""
    own, given = caption.tuples(), references.tuples()
    matched = sum(any(_similar(one, other) for other in given) for one in own)
    if not matched:
        return 0.0
    precision, recall = matched / len(own), matched / len(given)
    return 2.0 * (precision * recall) / (precision + recall)


def _similar(one: tuple[Concept, ...], other: tuple[Concept, ...]) -> bool:
    return len(one) == len(other) and all(first.similar(second) for first, second in zip(one, other, strict=True))


def _merge_or_append(concept: Concept, known: list[Concept]) -> None:
    if not _merge_into(concept, known):
        known.append(concept)


def _merge_into(concept: Concept, known: Sequence[Concept]) -> bool:
    """Merge a concept into the first similar one, unless the same is there; return whether it has a place now."""
    if any(concept.same(other) for other in known):
        return True
    for other in known:
        if concept.similar(other):
            other.merge(concept)
            return True
    return False
