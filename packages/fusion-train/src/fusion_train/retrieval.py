"""Retrieval as a measure of similarity: at which rank a clip finds its texts, and a text its clips.

Shapes: N clips, M distinct texts, Q queries.
"""

from __future__ import annotations

from math import comb

import torch
from fusion_eval.schemas.base import Record
from pydantic import Field
from torch import Tensor

CUTOFFS = (1, 10)


class Retrieval(Record):
    """One direction of retrieval over a split."""

    queries: int = Field(ge=1, description="How many queries were made.")
    pool: int = Field(ge=1, description="Among how many items each searched.")
    recall: dict[int, float] = Field(description="By k: share of the queries with a right item among the first k.")
    chance: dict[int, float] = Field(description="By k: what a random order reaches on average.")
    median_rank: float = Field(ge=1, description="Of the first right item, counted from 1.")


def retrieval(similarity_NM: Tensor, relevant_NM: Tensor) -> dict[str, Retrieval]:
    """Return both directions, ``audio_to_text`` and ``text_to_audio``.

    A clip searches the distinct texts of the split and is right with any of its own; a distinct text searches the clips and is
    right with any clip that has it as a reference.

    Args:
        similarity_NM: of each clip and each text.
        relevant_NM: True where the text is a reference of the clip; every row and column has one.
    """
    return {
        "audio_to_text": _direction(similarity_NM, relevant_NM),
        "text_to_audio": _direction(similarity_NM.T, relevant_NM.T),
    }


def first_ranks(similarity_QM: Tensor, relevant_QM: Tensor) -> Tensor:
    """Return for each query the rank of its first right item, counted from 1; of equal items the wrong ones come first."""
    best_Q = similarity_QM.masked_fill(~relevant_QM, -torch.inf).max(dim=1).values
    return 1 + ((similarity_QM >= best_Q[:, None]) & ~relevant_QM).sum(dim=1)


def chance_recall(right: int, pool: int, k: int) -> float:
    """Return the probability that k of ``pool`` items in random order hold one of the ``right`` ones."""
    return 1 - comb(pool - right, k) / comb(pool, k) if k < pool else 1.0


def _direction(similarity_QM: Tensor, relevant_QM: Tensor) -> Retrieval:
    ranks_Q = first_ranks(similarity_QM, relevant_QM)
    queries, pool = relevant_QM.shape
    counts = relevant_QM.sum(dim=1).tolist()
    return Retrieval(
        queries=queries,
        pool=pool,
        recall={k: float((ranks_Q <= k).double().mean()) for k in CUTOFFS},
        chance={k: sum(chance_recall(count, pool, k) for count in counts) / queries for k in CUTOFFS},
        median_rank=float(ranks_Q.double().quantile(0.5)),
    )
