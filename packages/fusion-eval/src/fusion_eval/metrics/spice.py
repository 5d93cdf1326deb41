"""SPICE 1.0: agreement of a caption with its references in objects, attributes and relations.

The published tool's parser says what each caption proposes (``java/parses.py``, kept on disk); the graphs and their
agreement are ``scene_graph.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from types import TracebackType
from typing import Self

import numpy as np

from fusion_eval.errors import DataError
from fusion_eval.java.parses import SceneParser
from fusion_eval.java.runtime import find_java
from fusion_eval.metrics.base import Metric, MetricValues, ScoredClips
from fusion_eval.metrics.scene_graph import SceneGraph, agreement
from fusion_eval.ngrams import Tokens
from fusion_eval.provision import require
from fusion_eval.tokenize import tokenize_all

VERSION = "1.0"
PARSER = "CoreNLP 3.6.0"


class Spice:
    """SPICE by a warm parser, which starts when a caption is new and takes some seconds and gigabytes.

    As a context manager it ends the parser; else it ends with Python, or when it has been idle for a minute.

    Args:
        workers: captions parsed at a time; by default one a processor, and fewer where memory is short.

    Raises:
        MissingAssetError: Java or a file of the tool is not installed.
    """

    def __init__(self, workers: int | None = None) -> None:
        jars = require("spice")
        self.java = find_java()
        self._parser = SceneParser(self.java, jars, workers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the parser; it starts again when it is needed."""
        self._parser.close()

    def score(
        self,
        captions: Sequence[Tokens],
        references: Sequence[Sequence[Tokens]],
        parsed: Callable[[int, int], object] | None = None,
    ) -> list[float]:
        """Return the SPICE of each clip.

        Args:
            captions: the tokens of each clip's caption.
            references: the tokens of each clip's references.
            parsed: is told how many of the texts that were never parsed before are parsed, of how many.

        Raises:
            DataError: a clip has no references, a text is too long, or the parser fails at it.
            MissingAssetError: the parser does not start.
        """
        own = [" ".join(tokens) for tokens in captions]
        given = [[" ".join(tokens) for tokens in texts] for texts in references]
        for clip, texts in enumerate(given):
            if not texts:
                raise DataError(f"Clip {clip} has no references; give it at least one.")
        proposals = self._parser.proposals([*own, *(text for texts in given for text in texts)], parsed)
        synsets = self._parser.synsets(proposals.values())
        return [
            agreement(
                SceneGraph([proposals[caption]], synsets), SceneGraph([proposals[text] for text in texts], synsets)
            )
            for caption, texts in zip(own, given, strict=True)
        ]


def spice(captions: Sequence[str], references: Sequence[Sequence[str]], workers: int | None = None) -> list[float]:
    """Return the SPICE of each clip, from captions as people write them; that of the corpus is their mean.

    Raises:
        MissingAssetError: Java or a file of the tool is not installed.
        DataError: a clip has no references, a text is too long, or the parser fails at it.
    """
    return shared_spice(workers).score(tokenize_all(captions), [tokenize_all(texts) for texts in references])


@lru_cache(maxsize=1)
def shared_spice(workers: int | None = None) -> Spice:
    """Return the tool that this Python process shares; it stays warm between calls."""
    return Spice(workers)


def _compute(clips: ScoredClips) -> MetricValues:
    published = clips.resources.columns.get("spice")
    if published is not None:
        values, tools, source = list(published), {}, "given as a column"
    else:
        tool = shared_spice(clips.resources.workers)
        values = tool.score(clips.caption_tokens, clips.reference_tokens, clips.resources.telling("spice"))
        tools, source = {"spice": VERSION, "spice_parser": PARSER, "java": tool.java.version}, "computed"
    return MetricValues(
        corpus={"spice": float(np.mean(values))},
        denominator={"spice": len(values)},
        per_clip={"spice": list(values)},
        definition={"spice": {"synonyms": "WordNet synsets of METEOR 1.5", "values": source, "over": "clips"}},
        tools=tools,
    )


METRIC = Metric("spice", "agreement with the references in objects, attributes and relations (SPICE 1.0)", _compute)
