"""How heavy the page may be, and which clips get sound when not all can have it."""

from __future__ import annotations

from dataclasses import dataclass

MEGABYTE = 1_000_000
GOLDEN_RATIO = 0.6180339887498949


@dataclass(frozen=True)
class Limits:
    """Upper bounds of what goes into the page; the libraries that draw the charts (about 1 MB) come on top.

    Attributes:
        clips: clips that are listed; of more, evenly spaced ones are taken.
        media_bytes: sounds, videos and pictures as they stand in the page, in base64.
        text_bytes: captions and candidates before compression, which brings them to about a sixth.
    """

    clips: int = 1000
    media_bytes: int = 16 * MEGABYTE
    text_bytes: int = 24 * MEGABYTE


def evenly_spaced(count: int, kept: int) -> list[int]:
    """Return ``kept`` of ``count`` indices, evenly spaced; all of them where there are no more."""
    if count <= kept:
        return list(range(count))
    return [index * count // kept for index in range(kept)]


def spread_out(count: int) -> list[int]:
    """Return all indices in an order of which every beginning is spread evenly over the whole.

    Points of an irrational rotation: the budget may end anywhere, and what got in is no cluster.
    """
    return sorted(range(count), key=lambda index: (index * GOLDEN_RATIO) % 1.0)
