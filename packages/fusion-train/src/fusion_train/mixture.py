"""What several modalities learn from: captions and answers in one mixture, each text after its own prompt.

A caption follows the run's instruction, an answer its question: the same objective, the same gates. An answer has few tokens
beside a caption, so they weigh more (``answer_weight``). An epoch shows each clip
once, with one of its texts, captions and answers drawn alike. For a share of the texts one modality alone is bound, so that none
learns to lean on the others. Which text and which modality is a function of seed, epoch, clip and text, so a run that is taken
up again sees what an unbroken one sees.

Shapes: B batch, S text positions, N predicted tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from fusion_core.backbone import Backbone
from fusion_core.prompt import Prompt
from fusion_core.systems.base import FusionSystem
from fusion_core.vision import VisionBackbone
from fusion_eval.schemas.questions import QuestionItem
from torch import Tensor

from fusion_train.config import MixtureSettings
from fusion_train.examples import Batch, CaptionedClip, Features, TrainingExamples
from fusion_train.modalities import ModalLookup


@dataclass(frozen=True)
class MixedBatch(Batch):
    """A batch whose rows have prompts of their own, padded on the left to one length.

    Attributes:
        prompts: one a row.
    """

    prompts: tuple[Prompt, ...] = ()

    @property
    def prompt_length(self) -> int:
        """The position at which every row's text begins."""
        return max(len(prompt.ids) for prompt in self.prompts)

    def to(self, device: torch.device) -> MixedBatch:
        """Return the same batch on another device."""
        moved = super().to(device)
        return MixedBatch(**vars(moved), prompts=self.prompts)


class MixedExamples(TrainingExamples):
    """The training split of a run of several modalities.

    Args:
        clips: the clips, each with at least one text.
        questions: by clip.
        backbone: whose tokenizer, prompts and end token are used.
        system: what trains.
        lookup: the features.
        settings: the instruction, whether questions are learned from, and how often one modality is alone.
        seed: decides order, choice of texts and what is bound.
        captions: whether the clips' references are captions to learn; where there are none, questions alone are learned.
    """

    def __init__(
        self,
        clips: Sequence[CaptionedClip],
        questions: Mapping[str, Sequence[QuestionItem]],
        backbone: Backbone,
        system: FusionSystem,
        lookup: ModalLookup,
        settings: MixtureSettings,
        seed: int,
        captions: bool = True,
    ) -> None:
        first = next(iter(lookup.caches.values()))
        super().__init__(clips, backbone, system.prompt(backbone, settings.instruction), first.get, seed)
        self.lookup = lookup
        self.alone = settings.alone
        self.answer_weight = settings.answer_weight
        if not captions:
            self.tokens = [[] for _ in self.clips]
        self.prompts = [[self.prompt] * len(texts) for texts in self.tokens]
        self.captions = [len(texts) for texts in self.tokens]
        if settings.questions:
            self._add_answers(questions, backbone, system)

    def _add_answers(
        self, questions: Mapping[str, Sequence[QuestionItem]], backbone: Backbone, system: FusionSystem
    ) -> None:
        prompts: dict[str, Prompt] = {}
        for place, clip in enumerate(self.clips):
            for item in questions.get(clip.id, ()):
                if item.text not in prompts:
                    prompts[item.text] = question_prompt(backbone, system, item.text)
                answer: list[int] = backbone.tokenizer(item.answer, add_special_tokens=False)["input_ids"]
                self.tokens[place].append([*answer, backbone.end_id])
                self.prompts[place].append(prompts[item.text])

    def distinct_prompts(self) -> set[Prompt]:
        """Return the prompts of all texts."""
        return {prompt for prompts in self.prompts for prompt in prompts}

    def bound(self, clip: int, text: int) -> tuple[str, ...]:
        """Return the modalities that are bound to a text of a clip: all, or one alone."""
        names = self.lookup.modalities
        generator = np.random.default_rng([self.seed, 17, clip, text])
        if len(names) > 1 and generator.random() < self.alone:
            return (names[int(generator.integers(len(names)))],)
        return names

    def collate(self, pairs: Sequence[tuple[int, int]]) -> MixedBatch:
        """Build the tensors of one forward pass."""
        texts = [self.tokens[clip][text] for clip, text in pairs]
        prompts = [self.prompts[clip][text] for clip, text in pairs]
        hashes = [self.clips[clip].sha256 for clip, _ in pairs]
        features = self.lookup.gather(hashes, [self.bound(clip, text) for clip, text in pairs])
        weights = [1.0 if text < self.captions[clip] else self.answer_weight for clip, text in pairs]
        return make_mixed_batch(prompts, texts, self.pad_id, features, weights)


def question_prompt(backbone: Backbone, system: FusionSystem, text: str) -> Prompt:
    """Return the prompt of a question without an image."""
    if isinstance(backbone, VisionBackbone):
        return backbone.question(text, image=False, slots=system.slots, heard=system.hears_prompt)
    return system.prompt(backbone, text)


def make_mixed_batch(
    prompts: Sequence[Prompt],
    texts: Sequence[Sequence[int]],
    pad_id: int,
    features: Features,
    weights: Sequence[float] | None = None,
) -> MixedBatch:
    """Build the tensors of one forward pass: prompts padded on the left, texts on the right.

    Args:
        prompts: one a row.
        texts: token ids, the last of each a target alone.
        pad_id: the token that fills up rows.
        features: the clips' frames.
        weights: how much the tokens of each text count; None counts all the same.
    """
    before, after = max(len(prompt.ids) for prompt in prompts), max(len(text) - 1 for text in texts)
    shape = (len(texts), before + after)
    ids_BS = torch.full(shape, pad_id)
    mask_BS, labels_BS = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.bool)
    for row, (prompt, text) in enumerate(zip(prompts, texts, strict=True)):
        start, stop = before - len(prompt.ids), before + len(text) - 1
        ids_BS[row, start:stop] = torch.tensor([*prompt.ids, *text[:-1]])
        mask_BS[row, start:stop] = 1
        labels_BS[row, before - 1 : stop] = True
    targets_N: Tensor = torch.tensor([token for text in texts for token in text])
    of_texts = weights or [1.0] * len(texts)
    weights_N = torch.tensor([weight for weight, text in zip(of_texts, texts, strict=True) for _ in text])
    return MixedBatch(ids_BS, mask_BS, labels_BS, targets_N, features, weights_N, tuple(prompts))
