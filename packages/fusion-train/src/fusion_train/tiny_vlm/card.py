"""The card of tiny-vlm in Markdown: what the model is, how it was made, on what, its scores and hash."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fusion_train.backbone_builders import CategoryScore
from fusion_train.text_questions import text_questions
from fusion_train.tiny_vlm.language import VOCABULARY, captions
from fusion_train.tiny_vlm.model import GRID, SIDE
from fusion_train.visual_questions.scene import HELD_OUT

_COLUMNS = ("accuracy", "greedy", "blind", "chance")
_CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: image-text-to-text
---
# {name}

A LLaVA (`LlavaForConditionalGeneration`) of {parameters:,} parameters: a CLIP tower of 4 layers over images of {side} x {side}
pixels ({grid} x {grid} tokens), a language model of 8 blocks, {vocabulary} byte pairs. It is for tests and trials of fusion and
knows nothing of the world.

**How.** `fusion backbone build {name} --seed {seed}`, nothing pretrained: {eyes} steps for the eyes, by what lies in each cell of
{looks} images, then {together} steps on {images} images with about nine questions each and {texts} rows of text;
{minutes:g} minutes of one CPU core. Weights in fp16.

**Data.** Procedural images and questions of `fusion_train.visual_questions` (training split; the {held_out} held-out
combinations of shape and colour were never shown), the {questions} shipped questions without an image, learned by heart, and
{captions:,} template captions of the training split of `scenes`. No photograph, no text of people.

**Scores.** Questions about {exam_images} images of the test split, half of them with held-out combinations. *accuracy*: the
likeliest option is right; *greedy*: free decoding begins with the answer; *blind*: accuracy without the image.

{table}

**Hash.** SHA-256 of `model.safetensors`: `{weights_sha256}`
"""


def render_card(card: dict[str, Any]) -> str:
    """Return what ``card.json`` says as a model card."""
    plan = card["plan"]
    return _CARD.format(
        **card,
        side=SIDE,
        grid=GRID,
        vocabulary=VOCABULARY,
        together=plan["steps"] - plan["eyes"],
        **{key: plan[key] for key in ("seed", "eyes", "looks", "images", "texts")},
        held_out=len(HELD_OUT),
        questions=len(text_questions()),
        captions=len(captions()),
        table="\n".join(_table([CategoryScore(**score) for score in card["scores"]])),
    )


def _table(scores: Sequence[CategoryScore]) -> list[str]:
    rows = [(one.category, one.questions, [getattr(one, column) for column in _COLUMNS]) for one in scores]
    means = [sum(values) / len(scores) for values in zip(*(values for _, _, values in rows), strict=True)]
    rows.append(("mean", sum(one.questions for one in scores), means))
    head = [f"| question | asked | {' | '.join(_COLUMNS)} |", "|---" + "|---:" * (1 + len(_COLUMNS)) + "|"]
    return head + [
        f"| {name} | {asked} | {' | '.join(f'{value:.3f}' for value in values)} |" for name, asked, values in rows
    ]
