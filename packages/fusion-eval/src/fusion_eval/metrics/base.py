"""What a metric is given and what it gives.

Legend: C clips, F columns of a sufficient statistic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from fusion_eval.ngrams import Floats
from fusion_eval.schemas.events import SceneItem
from fusion_eval.tokenize import tokenize_all

if TYPE_CHECKING:
    from fusion_eval.metrics.document_frequency import DocumentFrequency


@dataclass(frozen=True)
class Resources:
    """What some metrics need beside the captions; nothing of it is ever downloaded.

    Args:
        document_frequency: df and N for CIDEr-D; by default those of the scored references.
        assets: folder with the weights of FENSE's fluency detector and sentence encoder (``--assets``).
        columns: published values by name, one a clip in the order of the references, which take the place of a
            metric's own computation: ``error_probability`` of the fluency detector, ``spice``, ``sbert_sim``.
        workers: processes that a slow tool may use; by default one a core.
        tokenised: the captions and references are tokens already, with spaces between.
        progress: is told of a metric by name how much of it is done, of how much.
    """

    document_frequency: DocumentFrequency | None = None
    assets: Path | None = None
    columns: Mapping[str, Sequence[float]] = field(default_factory=dict)
    workers: int | None = None
    tokenised: bool = False
    progress: Callable[[str, int, int], object] | None = None

    def telling(self, metric: str) -> Callable[[int, int], object]:
        """Return what a metric calls with how much is done, of how much."""
        return partial(self.progress, metric) if self.progress is not None else lambda done, total: None


@dataclass(frozen=True)
class ScoredClips:
    """Captions joined with what they are scored against, one entry a clip in the order of the references.

    A clip without a prediction has the empty caption and no candidates. ``candidates`` is None where no clip has any;
    ``scenes`` and ``lexicon`` are None where there are no event graphs. ``parts`` gives the per-clip values of another
    metric, which is computed when it is first asked for.
    """

    ids: Sequence[str]
    captions: Sequence[str]
    references: Sequence[Sequence[str]]
    candidates: Sequence[Sequence[str]] | None = None
    scenes: Sequence[SceneItem] | None = None
    lexicon: Mapping[str, Sequence[str]] | None = None
    resources: Resources = field(default_factory=Resources)
    parts: Callable[[str], Sequence[float]] | None = None

    @cached_property
    def caption_tokens(self) -> list[list[str]]:
        """The tokens of each caption."""
        return self.tokens_of(self.captions)

    @cached_property
    def reference_tokens(self) -> list[list[list[str]]]:
        """The tokens of each clip's references."""
        return [self.tokens_of(references) for references in self.references]

    def tokens_of(self, texts: Iterable[str]) -> list[list[str]]:
        """Return the tokens of each text: by the tokeniser, or as they stand where they are tokens already."""
        return [text.split() for text in texts] if self.resources.tokenised else tokenize_all(texts)

    def part(self, name: str) -> Sequence[float]:
        """Return another metric's value of every clip.

        Raises:
            MissingAssetError: that metric cannot be had here; the message says why.
        """
        if self.parts is None:
            raise ValueError("these clips were not made by fusion_eval.scoring, so they have no parts")
        return self.parts(name)


@dataclass(frozen=True)
class SufficientStatistics:
    """What a corpus value is computed from: sums of these columns over the clips, and nothing else.

    A corpus value of a bootstrap resample is ``corpus(weights_RC @ values_CF)``. A metric that is the mean of its
    clips needs none.

    Args:
        names: the columns' names.
        values_CF: the columns of each clip.
        corpus: from sums with any leading axes (…, F) to the corpus values by name, each of shape (…).
    """

    names: tuple[str, ...]
    values_CF: Floats
    corpus: Callable[[Floats], dict[str, Floats]]


@dataclass(frozen=True)
class MetricValues:
    """What a metric found: one or more named values, each with the clips' values (None: does not apply).

    ``denominator`` is the number of things that a value was taken over, which ``definition`` names as "over";
    ``unavailable`` says of a value that could not be had why. ``statistics`` is given where a corpus value is not the
    mean of the clips that it applies to. Every name in ``corpus`` is bootstrapped from ``statistics``, or else from
    ``per_clip``; one that is in neither has no interval.
    """

    corpus: dict[str, float]
    denominator: dict[str, int]
    per_clip: dict[str, list[float | None]]
    definition: dict[str, dict[str, JsonValue]]
    tools: dict[str, str] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)
    statistics: SufficientStatistics | None = None


@dataclass(frozen=True)
class Metric:
    """A named metric; ``needs_events`` and ``needs_candidates`` say what it can be had for only.

    An ``oracle`` chose its captions by the references: its values are labelled so wherever they are shown, and are no
    result of a system. ``of_sums`` is the formula of the statistics that the metric leaves in a scores file, so that they can
    be resampled from the file alone; None where it leaves none.
    """

    name: str
    summary: str
    compute: Callable[[ScoredClips], MetricValues]
    needs_events: bool = False
    needs_candidates: bool = False
    oracle: bool = False
    of_sums: Callable[[Floats], dict[str, Floats]] | None = None
