"""What a metric is given and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from pydantic import JsonValue

from fusion_eval.schemas.events import SceneItem
from fusion_eval.tokenize import tokenize_all


@dataclass(frozen=True)
class ScoredClips:
    """Captions joined with what they are scored against, one entry a clip in the order of the references.

    A clip without a prediction has the empty caption. ``scenes`` and ``lexicon`` are None where there are no event
    graphs.
    """

    ids: Sequence[str]
    captions: Sequence[str]
    references: Sequence[Sequence[str]]
    scenes: Sequence[SceneItem] | None = None
    lexicon: Mapping[str, Sequence[str]] | None = None

    @cached_property
    def caption_tokens(self) -> list[list[str]]:
        """The tokens of each caption."""
        return tokenize_all(self.captions)

    @cached_property
    def reference_tokens(self) -> list[list[list[str]]]:
        """The tokens of each clip's references."""
        return [tokenize_all(references) for references in self.references]


@dataclass(frozen=True)
class MetricValues:
    """What a metric found: one or more named values, each with the clips' values (None: does not apply).

    ``denominator`` is the number of things that a value was taken over, which ``definition`` names as "over";
    ``unavailable`` says of a value that could not be had why.
    """

    corpus: dict[str, float]
    denominator: dict[str, int]
    per_clip: dict[str, list[float | None]]
    definition: dict[str, dict[str, JsonValue]]
    tools: dict[str, str] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Metric:
    """A named metric; ``needs_events`` says that it can be had only where there are event graphs."""

    name: str
    summary: str
    compute: Callable[[ScoredClips], MetricValues]
    needs_events: bool = False
