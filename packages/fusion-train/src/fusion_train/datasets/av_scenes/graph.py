"""What happens in a clip, in words that pictures, sound, captions and questions are all made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fusion_train.datasets.scenes.options import Split

Action = Literal["hit", "blink", "leave", "fall", "spin", "grow"]
Colour = Literal["red", "green", "blue", "yellow", "white", "purple"]
Shape = Literal["circle", "square", "triangle", "cross"]
Side = Literal["left", "right"]
Pitch = Literal["low", "high"]
Other = Literal["bell", "dog", "horn", "glass"]
Combination = Literal["seen", "held_out"]

ACTIONS: tuple[Action, ...] = ("hit", "blink", "leave", "fall", "spin", "grow")
COLOURS: tuple[Colour, ...] = ("red", "green", "blue", "yellow", "white", "purple")
SHAPES: tuple[Shape, ...] = ("circle", "square", "triangle", "cross")
SIDES: tuple[Side, ...] = ("left", "right")
PITCHES: tuple[Pitch, ...] = ("low", "high")
OTHERS: tuple[Other, ...] = ("bell", "dog", "horn", "glass")
HELD_OUT: frozenset[tuple[Shape, Colour]] = frozenset(
    (shape, COLOURS[(place * 2) % len(COLOURS)]) for place, shape in enumerate(SHAPES)
)
"""One colour of each shape that is never trained on."""


@dataclass(frozen=True)
class AvScene:
    """One clip.

    Attributes:
        id: its name.
        split: the split it is in.
        action: what the thing does.
        sound: whose sound is heard: that of ``action``, or of another where the clip is dubbed.
        colour: of the thing.
        shape: of the thing.
        side: where it does it, or where it goes.
        pitch: of its sound.
        other: what is heard from outside the picture; None for nothing.
        asks_match: whether it is asked if sight and sound belong together.
        seed: of its own stream of draws.
    """

    id: str
    split: Split
    action: Action
    sound: Action
    colour: Colour
    shape: Shape
    side: Side
    pitch: Pitch
    other: Other | None
    asks_match: bool
    seed: tuple[int, ...]

    @property
    def dubbed(self) -> bool:
        """Whether the sound is that of another action."""
        return self.sound != self.action

    @property
    def combination(self) -> Combination:
        """Whether shape and colour were seen together in training."""
        return "held_out" if (self.shape, self.colour) in HELD_OUT else "seen"

    def graph(self) -> str:
        """Return what belongs to one split alone: action, sound, shape, colour and the other sound."""
        return " ".join((self.action, self.sound, self.shape, self.colour, self.other or "nothing"))
