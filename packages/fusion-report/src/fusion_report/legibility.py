"""Whether the text of a figure can be read: nothing cut, crowded, over something else or too small in print.

The SVG says where each text stands; how wide it is is measured by drawing it, once for all texts, with the fonts that the
figure is
drawn with. Needs the extra ``check`` (pillow, which reads the measured picture).
"""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from xml.sax.saxutils import escape

import numpy as np
import vl_convert
from fusion_eval.errors import MissingAssetError
from numpy.typing import NDArray

SMALLEST = 7.0  # points, in print at the figure's own width
_POINTS = 0.75  # a CSS pixel in points
_SCALE = 2  # of the measured picture
_LEFT, _BASE, _ROW = 20.0, 1.4, 2.0  # where a text is drawn to be measured: x in px, y and height in font sizes
_TOUCH = 0.75  # px that two boxes may share, or a box may stand out: the rounding of what is measured
_CUT = "…"
_STYLE = (("font-family", "sans-serif"), ("font-weight", "normal"), ("font-style", "normal"))
_APART = 0.5  # of the font's size: neighbours in a line that stand closer read as one
_INK = 250  # grey below which a pixel is ink

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Text:
    """A text of the figure and where it stands.

    Attributes:
        words: what it says.
        size: of the font in px.
        style: the attributes that decide how it looks.
        anchor: start, middle or end.
        matrix: from its own coordinates to the canvas, 2 × 3.
    """

    words: str
    size: float
    style: tuple[tuple[str, str], ...]
    anchor: str
    matrix: tuple[tuple[float, float, float], tuple[float, float, float]]


@dataclass(frozen=True)
class Box:
    """The box of a text on the canvas, in px; ``turned`` says whether it is not written from left to right."""

    words: str
    left: float
    top: float
    right: float
    bottom: float
    turned: bool = False

    def crowds(self, other: Box, gap: float) -> bool:
        """Say whether two texts in one line stand so close that they read as one."""
        high = min(self.bottom, other.bottom) - max(self.top, other.top)
        between = max(self.left, other.left) - min(self.right, other.right)
        lines = min(self.bottom - self.top, other.bottom - other.top)
        return not (self.turned or other.turned) and -_TOUCH <= between < gap and high > lines / 2

    def overlaps(self, other: Box) -> bool:
        """Say whether two texts stand over each other; the same text drawn twice at one place does not count."""
        same = self.words == other.words and abs(self.left - other.left) < 1 and abs(self.top - other.top) < 1
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.bottom, other.bottom) - max(self.top, other.top)
        return not same and wide > _TOUCH and high > _TOUCH


def problems(svg: str, widest: float | None = None) -> list[str]:
    """Return what is wrong with a figure's text, a sentence each; nothing where all can be read.

    Args:
        svg: the figure.
        widest: how wide it may be, in px; by default anything.

    Raises:
        MissingAssetError: pillow is not installed.
    """
    root = ET.fromstring(svg)
    width, height = _canvas(root)
    texts = list(_texts(root, np.eye(3)))
    boxes = _boxes(texts)
    found = [f"'{text.words}' is cut." for text in texts if text.words.endswith(_CUT)]
    found += [
        f"'{text.words}' is {text.size * _POINTS:.1f} points high, less than {SMALLEST:g}."
        for text in texts
        if text.size * _POINTS < SMALLEST
    ]
    found += [
        f"'{box.words}' stands out of the figure."
        for box in boxes
        if min(box.left, box.top) < -_TOUCH or box.right > width + _TOUCH or box.bottom > height + _TOUCH
    ]
    found += [f"'{a.words}' and '{b.words}' stand over each other." for a, b in combinations(boxes, 2) if a.overlaps(b)]
    gap = _APART * min((text.size for text in texts), default=0.0)
    found += [f"'{a.words}' and '{b.words}' stand too close." for a, b in combinations(boxes, 2) if a.crowds(b, gap)]
    found += [f"'{box.words}' cannot be drawn." for box in boxes if box.right <= box.left]
    if widest is not None and width > widest:
        found.append(f"The figure is {width:.0f} px wide, more than {widest:.0f}.")
    return found


def text_boxes(svg: str) -> list[Box]:
    """Return the boxes of all texts that are shown.

    Raises:
        MissingAssetError: pillow is not installed.
    """
    return _boxes(list(_texts(ET.fromstring(svg), np.eye(3))))


def _canvas(root: ET.Element) -> tuple[float, float]:
    _, _, width, height = map(float, (root.get("viewBox") or "0 0 0 0").replace(",", " ").split())
    return width, height


def _texts(element: ET.Element, matrix: Matrix) -> Iterator[Text]:
    """Yield the texts below an element, hidden ones left out."""
    if element.get("opacity") == "0" or element.get("display") == "none" or element.get("visibility") == "hidden":
        return
    own = matrix @ _transform(element.get("transform", ""))
    if element.tag.rpartition("}")[2] != "text":
        for child in element:
            yield from _texts(child, own)
        return
    style = tuple((name, element.get(name, default)) for name, default in _STYLE)
    size = float(re.sub("[^0-9.]", "", element.get("font-size", "11")) or 11)
    for words, shift in _lines(element):
        if words.strip():
            moved = own @ np.array([[1, 0, 0], [0, 1, shift], [0, 0, 1]])
            rows = tuple(tuple(float(value) for value in row) for row in moved[:2])
            yield Text(words, size, style, element.get("text-anchor", "start"), rows)  # type: ignore[arg-type] # 2 × 3


def _lines(element: ET.Element) -> Iterator[tuple[str, float]]:
    """Yield the lines of a text with how far each is moved down."""
    if element.text and element.text.strip():
        yield element.text, 0.0
    down = 0.0
    for child in element:
        down += float(child.get("dy", "0"))
        yield "".join(child.itertext()), down


def _transform(text: str) -> Matrix:
    """Return the matrix of an SVG transform: translations, rotations, scalings and matrices, one after another."""
    matrix = np.eye(3)
    for name, inside in re.findall(r"(\w+)\(([^)]*)\)", text):
        values = [float(value) for value in re.split(r"[ ,]+", inside.strip())]
        step = np.eye(3)
        if name == "translate":
            step[:2, 2] = values[0], values[1] if len(values) > 1 else 0.0
        elif name == "rotate":
            angle = np.deg2rad(values[0])
            step[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        elif name == "scale":
            step[0, 0], step[1, 1] = values[0], values[-1]
        elif name == "matrix":
            step[:2] = np.array(values).reshape(3, 2).T
        matrix = matrix @ step
    return matrix


def _boxes(texts: Sequence[Text]) -> list[Box]:
    boxes = []
    for text, (left, top, right, bottom) in zip(texts, _measure(texts), strict=True):
        shift = {"start": 0.0, "middle": (left + right) / 2, "end": right}[text.anchor]
        matrix = np.array(text.matrix)
        corners = np.array([[x - shift, y, 1.0] for x in (left, right) for y in (top, bottom)]) @ matrix.T
        low, high = corners.min(axis=0), corners.max(axis=0)
        turned = abs(text.matrix[1][0]) > abs(text.matrix[0][0])
        boxes.append(Box(text.words, float(low[0]), float(low[1]), float(high[0]), float(high[1]), turned))
    return boxes


def _measure(texts: Sequence[Text]) -> list[tuple[float, float, float, float]]:
    """Return the ink of each text about its start on the baseline: left, top, right, bottom in px, downwards positive."""
    if not texts:
        return []
    rows, y = [], 0.0
    tops = []
    for text in texts:
        style = " ".join(f'{name}="{escape(value, {chr(34): "&quot;"})}"' for name, value in text.style)
        base = y + _BASE * text.size
        rows.append(f'<text x="{_LEFT}" y="{base}" font-size="{text.size}px" {style}>{escape(text.words)}</text>')
        tops.append((y, base))
        y += _ROW * text.size
    width = _LEFT * 2 + max(len(text.words) * text.size for text in texts)
    picture = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y}" viewBox="0 0 {width} {y}">'
        f'<rect width="{width}" height="{y}" fill="white"/>{"".join(rows)}</svg>'
    )
    ink = _grey(bytes(vl_convert.svg_to_png(picture, scale=_SCALE))) < _INK
    found = []
    for text, (top, base) in zip(texts, tops, strict=True):
        part = ink[round(top * _SCALE) : round((top + _ROW * text.size) * _SCALE)]
        columns, lines = np.flatnonzero(part.any(axis=0)), np.flatnonzero(part.any(axis=1))
        if len(columns) == 0:  # nothing but spaces, or a sign that no font has
            found.append((0.0, 0.0, 0.0, 0.0))
            continue
        left, right = columns[0] / _SCALE - _LEFT, (columns[-1] + 1) / _SCALE - _LEFT
        found.append((left, top + lines[0] / _SCALE - base, right, top + (lines[-1] + 1) / _SCALE - base))
    return found


def _grey(png: bytes) -> NDArray[np.uint8]:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingAssetError("Measuring text needs pillow; install fusion-report[check].") from error
    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture.convert("L"))
