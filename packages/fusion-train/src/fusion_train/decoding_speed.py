"""How fast beam search is beside transformers' own ``generate``: same model, machine, prompts and settings, no audio bound.

The sides are measured in turns in one process, so that a busy machine slows both alike; medians count. Both search in the same
way, so the captions should be the same. Where they are not, both captions are read again by the model in one pass each: two
whose scores are closer than the arithmetic is exact are a tie, which the two sides break differently.

Shapes: B clips, S prompt positions, N tokens of a caption.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from fusion_core.backbone import Backbone
from fusion_core.progress import track
from torch import Tensor

from fusion_train.config import DecodingSettings
from fusion_train.generate import generate

OURS, THEIRS = "fusion", "transformers generate"
INSTRUCTIONS = (
    "Describe the sound.",
    "What would one hear at a railway station?",
    "Describe the sound of rain on a tin roof.",
    "Name three loud animals.",
    "Write one sentence about a dog that barks.",
    "What does a church bell sound like?",
    "Describe a busy street in the morning.",
    "What wakes people up at night?",
    "Say in a few words what thunder is.",
    "Describe the sea in winter.",
    "Which sounds come from a kitchen?",
    "What is the difference between a siren and an alarm?",
    "Describe footsteps on gravel.",
    "Tell me what a helicopter does.",
    "Write a short caption for a clip of birds.",
    "Describe a door that is knocked on and opened.",
)


@dataclass(frozen=True)
class Difference:
    """A prompt to which the sides gave different captions.

    Attributes:
        instruction: the prompt.
        captions: the caption by side.
        scores: by side, log-probability over length^penalty as the model gives it in one pass.
    """

    instruction: str
    captions: dict[str, str]
    scores: dict[str, float]

    @property
    def gap(self) -> float:
        """Our score less theirs: 0 or more where our caption is as likely."""
        return self.scores[OURS] - self.scores[THEIRS]


@dataclass(frozen=True)
class DecodingSpeed:
    """What was measured.

    Attributes:
        captions: how many prompts each side answered in one turn.
        seconds: the median of the turns, by side.
        differences: where the captions are not the same.
    """

    captions: int
    seconds: dict[str, float]
    differences: list[Difference]

    @property
    def ratio(self) -> float:
        """Our captions a second over theirs."""
        return self.seconds[THEIRS] / self.seconds[OURS]


@torch.inference_mode()
def measure_decoding(
    backbone: Backbone, instructions: Sequence[str], settings: DecodingSettings, repeats: int
) -> DecodingSpeed:
    """Caption every prompt with both sides, ``repeats`` times in turns after one turn to warm up.

    Args:
        backbone: the model, on its device.
        instructions: one a clip; shorter ones are padded on the left within a batch.
        settings: beams, longest caption, length penalty, and the prompts of one batch.
        repeats: turns that count.
    """
    batches = [
        _left_padded(backbone, instructions[start : start + settings.batch])
        for start in range(0, len(instructions), settings.batch)
    ]
    sides: dict[str, Callable[[Tensor, Tensor], list[tuple[int, ...]]]] = {
        OURS: lambda ids_BS, mask_BS: _ours(backbone, ids_BS, mask_BS, settings),
        THEIRS: lambda ids_BS, mask_BS: _theirs(backbone, ids_BS, mask_BS, settings),
    }
    times: dict[str, list[float]] = {name: [] for name in sides}
    captions: dict[str, list[tuple[int, ...]]] = {}
    for turn in track(range(repeats + 1), "decode"):
        for name in list(sides)[:: 1 if turn % 2 else -1]:
            begin = time.perf_counter()
            captions[name] = [found for batch in batches for found in sides[name](*batch)]
            times[name].append(time.perf_counter() - begin)
    seconds = {name: statistics.median(found[1:]) for name, found in times.items()}
    differences = []
    for instruction, mine, other in zip(instructions, captions[OURS], captions[THEIRS], strict=True):
        if mine != other:
            by_side = {OURS: mine, THEIRS: other}
            texts = {name: backbone.tokenizer.decode(list(ids)) for name, ids in by_side.items()}
            scores = {name: rescore(backbone, instruction, ids, settings) for name, ids in by_side.items()}
            differences.append(Difference(instruction, texts, scores))
    return DecodingSpeed(len(instructions), seconds, differences)


def rescore(backbone: Backbone, instruction: str, caption: Sequence[int], settings: DecodingSettings) -> float:
    """Return log p(caption and end token | prompt) over length^penalty, read in one pass without a cache.

    A caption as long as is allowed has no end token.
    """
    prompt = backbone.prompt(instruction).ids
    tokens = [*caption, backbone.end_id][: settings.max_new_tokens]
    ids_BS = torch.tensor([[*prompt, *tokens]], device=backbone.device)
    hidden_BND = backbone.hidden(ids_BS)[:, len(prompt) - 1 : -1]
    logprobs_NV = backbone.logits(hidden_BND)[0].float().log_softmax(dim=-1)
    total = logprobs_NV[torch.arange(len(tokens)), torch.tensor(tokens)].sum()
    return float(total) / math.pow(len(tokens), settings.length_penalty)


def _left_padded(backbone: Backbone, instructions: Sequence[str]) -> tuple[Tensor, Tensor]:
    rows = [list(backbone.prompt(instruction).ids) for instruction in instructions]
    longest = max(map(len, rows))
    ids = [[backbone.pad_id] * (longest - len(row)) + row for row in rows]
    mask = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(ids, device=backbone.device), torch.tensor(mask, device=backbone.device)


def _ours(backbone: Backbone, ids_BS: Tensor, mask_BS: Tensor, settings: DecodingSettings) -> list[tuple[int, ...]]:
    return [found[0].ids for found in generate(backbone, ids_BS, settings, mask_BS=mask_BS)]


def _theirs(backbone: Backbone, ids_BS: Tensor, mask_BS: Tensor, settings: DecodingSettings) -> list[tuple[int, ...]]:
    sequences = backbone.model.generate(
        ids_BS,
        attention_mask=mask_BS,
        num_beams=settings.beams,
        max_new_tokens=settings.max_new_tokens,
        length_penalty=settings.length_penalty,
        early_stopping=False,
        do_sample=False,
        eos_token_id=backbone.end_id,
        pad_token_id=backbone.pad_id,
    )
    return [_until_end(row, backbone) for row in sequences[:, ids_BS.shape[1] :].tolist()]


def _until_end(tokens: list[int], backbone: Backbone) -> tuple[int, ...]:
    marks = {backbone.end_id, backbone.pad_id}
    end = next((place for place, token in enumerate(tokens) if token in marks), len(tokens))
    return tuple(tokens[:end])
