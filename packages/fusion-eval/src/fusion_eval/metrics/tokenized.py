"""Captions and references as the functions of the metrics take them, checked and tokenised."""

from __future__ import annotations

from collections.abc import Sequence

from fusion_eval.errors import DataError
from fusion_eval.tokenize import tokenize_all


def tokenize_clips(
    captions: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[list[list[str]], list[list[list[str]]]]:
    """Return the tokens of each clip's caption and of its references.

    Raises:
        DataError: the numbers of captions and clips differ, there are none, or a clip has no references.
    """
    if not captions:
        raise DataError("There are no captions; give at least one.")
    if len(captions) != len(references):
        raise DataError(f"There are {len(captions)} captions but references of {len(references)} clips; give as many.")
    for clip, texts in enumerate(references):
        if not texts:
            raise DataError(f"Clip {clip} has no references; give it at least one.")
    return tokenize_all(captions), [tokenize_all(texts) for texts in references]
