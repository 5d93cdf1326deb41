"""Questions about a clip, by what they need: sight, sound, or both.

- *colour*, *shape*, *side*: of what is seen; the sound has nothing to do with them.
- *other*, *pitch*: of what is heard; the picture has nothing to do with them.
- *pair*: a colour and a sound from outside, of two each: sight or sound alone leaves two of four answers.
- *match*: whether the sound belongs to what is seen. In half of the clips that are asked it does, and in the others each action
  has each other's sound, so sight or sound alone leaves both answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from fusion_eval.schemas.questions import QuestionItem
from fusion_train.datasets.av_scenes.graph import COLOURS, OTHERS, PITCHES, SHAPES, SIDES, AvScene

KINDS = ("sight", "sound", "both")
TEXTS = {
    "colour": "What colour is the thing in the video?",
    "shape": "What shape is the thing in the video?",
    "side": "On which side is the thing, or to which side does it go?",
    "other": "Which sound comes from outside the picture?",
    "pitch": "Is the sound of the thing high or low?",
    "pair": "What colour is the thing, and which sound comes from outside the picture?",
    "match": "Does the sound belong to what the thing does?",
}
Value = TypeVar("Value")


def ask(scene: AvScene) -> list[QuestionItem]:
    """Return the questions of a clip."""
    generator = np.random.default_rng([*scene.seed, 5])
    asked = [
        _question(scene, "sight", "colour", scene.colour, COLOURS),
        _question(scene, "sight", "shape", scene.shape, SHAPES),
        _question(scene, "sight", "side", scene.side, SIDES),
        _question(scene, "sound", "pitch", scene.pitch, PITCHES),
    ]
    if scene.other is not None:
        asked.append(_question(scene, "sound", "other", scene.other, OTHERS))
        colours = _with_another(generator, COLOURS, scene.colour)
        others = _with_another(generator, OTHERS, scene.other)
        pairs = [f"{colour} and {other}" for colour in colours for other in others]
        asked.append(_question(scene, "both", "pair", f"{scene.colour} and {scene.other}", pairs))
    if scene.asks_match:
        asked.append(_question(scene, "both", "match", "no" if scene.dubbed else "yes", ("yes", "no")))
    return asked


def _question(scene: AvScene, kind: str, category: str, answer: str, options: Sequence[str]) -> QuestionItem:
    return QuestionItem(
        id=f"{scene.id}-{category}",
        clip=scene.id,
        kind=kind,
        category=category,
        text=TEXTS[category],
        answer=answer,
        options=tuple(options),
    )


def _with_another(generator: np.random.Generator, values: Sequence[Value], right: Value) -> list[Value]:
    """Return the right value and another one, in the order of all values."""
    others = [value for value in values if value != right]
    chosen = others[int(generator.integers(len(others)))]
    return [value for value in values if value in (right, chosen)]
