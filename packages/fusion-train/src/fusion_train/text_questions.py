"""Questions without an image, with known answers: opposites, sums, kinds of things, simple facts, true or not, what comes next.

A language model that is taught to hear has language to lose as well as sight. The list ships with the package and never changes
under its name; each question asks for one word and has its options.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path

from fusion_train.retention_probe import Probe, ProbeItem

NAME = "text-questions"
FILE = "text_questions.jsonl"


@cache
def text_questions() -> tuple[ProbeItem, ...]:
    """Return the questions, in a fixed order."""
    text = (resources.files("fusion_train") / FILE).read_text(encoding="utf-8")
    return tuple(ProbeItem.model_validate_json(line) for line in text.splitlines())


def text_probe() -> Probe:
    """Return them as a probe."""
    return Probe(NAME, text_questions(), Path())
