"""Figure 1: the architecture, drawn from a run's card: encoder, projector, frozen blocks, the sites and their gates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import altair
import polars
from fusion_eval.schemas import RunCard

from fusion_report.figures.style import COLUMN, LABEL, RULE, Figure, finished, nothing
from fusion_report.palette import BLUE, SKY, VERMILION
from fusion_report.study import Study, cards_of

KEY, TITLE = "architecture", "Additive, layer-selective fusion"
_FROZEN, _TRAINED, _SITE = "#e4e4e4", SKY, VERMILION
_WIDTH, _HEIGHT = 300, 290  # of the drawing, in its own units and in pixels
_LEFT, _RIGHT = (4, 122), (196, 296)  # the columns of hearing and of the language model
_BLOCKS = (52.0, 226.0)  # from the first block to the end of the last
_DEPTH = "backbone_depth"
_NARROW = 2.0  # below this height a block has no room for a gap


def architecture(study: Study) -> Figure:
    """Return the schematic of the additive system's default."""
    reference = study.reference()
    cards = cards_of(reference) if reference is not None else []
    if not cards:
        return nothing(KEY, TITLE, "The study has no run card of the additive system.")
    place, card = cards[0]
    depth = card.system.config.get(_DEPTH)
    sites = list(card.system.sites or ())
    if not isinstance(depth, int) or not sites:
        return nothing(
            KEY, TITLE, f"{place} does not say how many blocks the backbone has, or at which the system adds."
        )
    layers = [_boxes(card, depth, sites), _texts(card, depth, sites), *_arrows(depth, sites)]
    return Figure(
        key=KEY,
        title=TITLE,
        caption=(
            f"{TITLE}. Grey is frozen, blue is trained: {card.parameters.total:,} parameters. At the entrance of block"
            f" {' and '.join(map(str, sites))} of {depth} a gated unit direction is added to the residual stream"
            f" of {card.backbone.name},"
            " in proportion to its size ρ. Without audio nothing is added.",
        ),
        chart=finished(altair.layer(*layers).properties(width=COLUMN - 12, height=_HEIGHT)),
        colours=(_FROZEN, _TRAINED, _SITE),
        sources=(place,),
    )


def _block(place: int, depth: int) -> tuple[float, float]:
    """Return where a block lies, the first one lowest."""
    step = (_BLOCKS[1] - _BLOCKS[0]) / depth
    return _BLOCKS[0] + place * step, _BLOCKS[0] + (place + 1) * step


def _scales() -> tuple[Any, Any]:
    return altair.Scale(domain=[0, _WIDTH], nice=False), altair.Scale(domain=[0, _HEIGHT], nice=False)


def _boxes(card: RunCard, depth: int, sites: Sequence[int]) -> Any:
    left, right = _LEFT, _RIGHT
    rows: list[tuple[float, float, float, float, str, str]] = [
        (*left, 4, 34, "#ffffff", RULE),
        (*left, 54, 96, _FROZEN, RULE),
        (*left, 116, 158, _TRAINED, RULE),
        (*left, 178, 208, _TRAINED, RULE),
        (*right, 4, 34, "#ffffff", RULE),
        (*right, 244, 274, _FROZEN, RULE),
    ]
    for place in range(depth):
        low, high = _block(place, depth)
        gap = 0.6 if high - low > _NARROW else 0.0
        rows.append((*right, low, high - gap, _SITE if place in sites else _FROZEN, "#ffffff"))
    names = ["x", "x2", "y", "y2", "fill", "stroke"]
    x, y = _scales()
    return (
        altair.Chart(polars.DataFrame(rows, names, orient="row"))
        .mark_rect(strokeWidth=0.8)
        .encode(
            x=altair.X("x:Q", scale=x, axis=None),
            x2="x2:Q",
            y=altair.Y("y:Q", scale=y, axis=None),
            y2="y2:Q",
            fill=altair.Fill("fill:N", scale=None),
            stroke=altair.Stroke("stroke:N", scale=None),
        )
    )


def _texts(card: RunCard, depth: int, sites: Sequence[int]) -> Any:
    left, right = sum(_LEFT) / 2, sum(_RIGHT) / 2
    encoder = card.encoder.name if card.encoder is not None else "no encoder"
    tokens, width = card.system.tokens, card.system.projector_width
    rows: list[tuple[float, float, str]] = [
        (left, 19, "audio clip"),
        (left, 81, encoder),
        (left, 68, "frozen encoder"),
        (left, 143, "projector"),
        (left, 130, f"{tokens} tokens × {width}"),
        (left, 193, "token gates"),
        (right, 19, "prompt, caption"),
        (right, 259, "next token"),
    ]
    gates = card.system.final_gates or {}
    for site in sites:
        low, _ = _block(site, depth)
        gate = f" = {abs(gates[site]):.2f}" if site in gates else ""
        rows.append((sum((_LEFT[1], _RIGHT[0])) / 2 + 4, low + 9, f"α({site}){gate}"))
    beside = _RIGHT[0] - 5
    stack = [(beside, 78, f"{depth} frozen"), (beside, 64, "blocks of"), (beside, 50, card.backbone.name)]
    return altair.layer(_words(rows, "center"), _words(stack, "right"))


def _words(rows: Sequence[tuple[float, float, str]], align: Literal["center", "right"]) -> Any:
    x, y = _scales()
    return (
        altair.Chart(polars.DataFrame(rows, ["x", "y", "text"], orient="row"))
        .mark_text(fontSize=LABEL, color="#1a1a1a", baseline="middle", align=align)
        .encode(x=altair.X("x:Q", scale=x), y=altair.Y("y:Q", scale=y), text="text:N")
    )


def _arrows(depth: int, sites: Sequence[int]) -> list[Any]:
    """Return the ways: up the column of hearing, up the language model, and from the gates to the sites."""
    left, right = sum(_LEFT) / 2, sum(_RIGHT) / 2
    rows: list[tuple[float, float, float, float]] = [
        (left, 34, left, 51),
        (left, 96, left, 113),
        (left, 158, left, 175),
        (right, 34, right, _BLOCKS[0] - 3),
    ]
    rows.append((right, _BLOCKS[1], right, 241))
    trunk = _LEFT[1] + 12
    lines: list[tuple[float, float, float, float]] = [(_LEFT[1], 193, trunk, 193)]
    heights = [_block(site, depth)[0] + 1 for site in sites]
    lines.append((trunk, min([*heights, 193.0]), trunk, max([*heights, 193.0])))
    rows += [(trunk, height, _RIGHT[0] - 3, height) for height in heights]
    x, y = _scales()
    names = ["x", "y", "x2", "y2"]

    def rules(data: list[tuple[float, float, float, float]]) -> Any:
        return (
            altair.Chart(polars.DataFrame(data, names, orient="row"))
            .mark_rule(color=BLUE, strokeWidth=1.3)
            .encode(x=altair.X("x:Q", scale=x), y=altair.Y("y:Q", scale=y), x2="x2:Q", y2="y2:Q")
        )

    heads = [(x2, y2, 0 if y1 != y2 else 90) for _, y1, x2, y2 in rows]
    points = (
        altair.Chart(polars.DataFrame(heads, ["x", "y", "angle"], orient="row"))
        .mark_point(shape="triangle", filled=True, color=BLUE, size=40, opacity=1)
        .encode(
            x=altair.X("x:Q", scale=x),
            y=altair.Y("y:Q", scale=y),
            angle=altair.Angle("angle:Q", scale=altair.Scale(domain=[0, 360], range=[0, 360])),
        )
    )
    return [rules([*rows, *lines]), points]
