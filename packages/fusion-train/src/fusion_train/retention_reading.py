"""How a probe is read: each question's prompt once, then its answer under everything that may be bound to the call.

A system that hears from the answer on leaves the prompt as the bare backbone has it. So the keys and values of all but the
prompt's last token are computed once a question and serve every such system, every clip that it is given, the greedy answer and
the options. Questions of equal length share a batch, so nothing is padded, and what is computed of a question does not depend on
which systems are measured with it.

Shapes: B questions, S text positions, I tokens of an image, R options that are read on, N their tokens, V vocabulary,
T frames, A encoder width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from fusion_core.backbone import Backbone
from fusion_core.context import FusionContext
from fusion_core.errors import ConfigError
from fusion_core.progress import track
from fusion_core.prompt import Prompt
from fusion_core.systems.base import FusionSystem
from fusion_core.vision import VisionBackbone
from fusion_encoders.base import FeatureSequence
from fusion_encoders.images import load_image
from fusion_eval.retention import contains_answer, is_exact, likeliest
from fusion_eval.schemas.retention import Answers, Outcome
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache

from fusion_train.config import DecodingSettings
from fusion_train.generate import generate
from fusion_train.retention_probe import Probe, ProbeItem

QUESTIONS_AT_ONCE = 32
OPTIONS_AT_ONCE = 64
GREEDY = DecodingSettings(beams=1, max_new_tokens=12)


@dataclass(frozen=True, eq=False)
class Hearing:
    """What is bound while questions are answered.

    Attributes:
        system: what hears; None for the bare backbone.
        clips: the frames x_TA from which each question gets one, in turn; empty where nothing is bound.
    """

    system: FusionSystem | None = None
    clips: tuple[Tensor, ...] = ()

    def context(self, places: Sequence[int], prompts: Sequence[Prompt], device: torch.device) -> FusionContext | None:
        """Return the context for questions by their places in the probe; None where nothing is bound."""
        if self.system is None or not self.clips:
            return None
        self.system.eval()
        features = FeatureSequence.pad([self.clips[place % len(self.clips)] for place in places]).to(device)
        slots = [prompt.slot_index(len(prompt.ids) - 1) for prompt in prompts]
        found = [slots_1S for slots_1S in slots if slots_1S is not None]
        return self.system.bind(features.x_BTA, features.mask_BT, torch.cat(found) if found else None)


@dataclass(frozen=True)
class Layout:
    """How questions are put.

    Attributes:
        image: whether their images are shown.
        slots: placeholder tokens in the prompt.
        heard: whether the prompt is read with audio; if not, what is bound acts from its last token on.
    """

    image: bool = True
    slots: int = 0
    heard: bool = False


@dataclass(frozen=True)
class _Batch:
    """Questions of one length: their places in the probe, the prompts, and the images or None."""

    places: list[int]
    prompts: list[Prompt]
    images_BID: Tensor | None


@dataclass
class _Record:
    """What one hearing has answered so far."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    digest: Any = field(default_factory=hashlib.sha256)

    def add_logits(self, logits: Tensor) -> None:
        self.digest.update(logits.float().cpu().contiguous().numpy().tobytes())

    def answers(self, probe: Probe) -> Answers:
        """Return the answers in the order of the probe."""
        ordered = {item.question_id: self.outcomes[item.question_id] for item in probe.items}
        return Answers(logits_sha256=self.digest.hexdigest(), outcomes=ordered)


class ProbeReader:
    """Reads a probe with a backbone.

    Args:
        backbone: the model; it sees where the probe has images.
        probe: the questions.

    Raises:
        ConfigError: the probe has images, and the backbone sees none.
    """

    def __init__(self, backbone: Backbone, probe: Probe) -> None:
        self.backbone = backbone
        self.probe = probe
        self._seen: dict[str, Tensor] = {}
        if not isinstance(backbone, VisionBackbone) and any(item.image is not None for item in probe.items):
            raise ConfigError(
                f"The probe {probe.name} has images and the backbone {backbone.identity.name} sees none; give one that does "
                "by --backbone (such as smollm2-vl), or a probe without images (--probe text-questions)."
            )

    @torch.inference_mode()
    def answer(self, hearings: Sequence[Hearing], layout: Layout) -> list[Answers]:
        """Answer every question under each of the hearings, which share a layout; the answers in their order."""
        self.backbone.model.eval()
        records = [_Record() for _ in hearings]
        batches = list(self._places(layout))
        for places in track(batches, f"questions to {self.backbone.identity.name}"):
            batch = self._batch(places, layout)
            bare = None if layout.heard else self._read(batch, None)
            for hearing, record in zip(hearings, records, strict=True):
                self._answer(batch, bare, hearing, record)
        return [record.answers(self.probe) for record in records]

    def prompt(self, item: ProbeItem, layout: Layout) -> Prompt:
        """Return the prompt of a question."""
        if isinstance(self.backbone, VisionBackbone):
            image = layout.image and item.image is not None
            return self.backbone.question(item.text, image, layout.slots, layout.heard)
        return self.backbone.prompt(item.text, layout.slots, layout.heard)

    def _places(self, layout: Layout) -> Iterator[list[int]]:
        """Yield the places of questions whose prompts have one length, and an image all or none."""
        groups: dict[tuple[int, bool], list[int]] = {}
        for place, item in enumerate(self.probe.items):
            key = len(self.prompt(item, layout).ids), layout.image and item.image is not None
            groups.setdefault(key, []).append(place)
        for _, places in sorted(groups.items()):
            for start in range(0, len(places), QUESTIONS_AT_ONCE):
                yield places[start : start + QUESTIONS_AT_ONCE]

    def _batch(self, places: list[int], layout: Layout) -> _Batch:
        items = [self.probe.items[place] for place in places]
        shown = layout.image and items[0].image is not None
        images = torch.stack([self._image(item) for item in items]) if shown else None
        return _Batch(places, [self.prompt(item, layout) for item in items], images)

    def _image(self, item: ProbeItem) -> Tensor:
        """Return the tokens of a question's image, e_ID, computed once."""
        name = item.image or ""
        if name not in self._seen:
            assert isinstance(self.backbone, VisionBackbone)  # the constructor has seen to it
            pixels_13HW = load_image(self.probe.image_path(item), self.backbone.image_size)[None]
            self._seen[name] = self.backbone.embed_images(pixels_13HW.to(self.backbone.device))[0]
        return self._seen[name]

    def _read(self, batch: _Batch, context: FusionContext | None) -> DynamicCache:
        """Read all but the last token of the prompts; return their keys and values."""
        cache = DynamicCache(config=self.backbone.decoder.config)
        ids_BS = torch.tensor([prompt.ids[:-1] for prompt in batch.prompts], device=self.backbone.device)
        self.backbone.hidden(ids_BS, None, cache, context, batch.images_BID)
        return cache

    def _answer(self, batch: _Batch, bare: DynamicCache | None, hearing: Hearing, record: _Record) -> None:
        """Answer a batch of questions greedily, and measure the likelihood of their options."""
        context = hearing.context(batch.places, batch.prompts, self.backbone.device)
        past = bare if bare is not None else self._read(batch, context)
        last_B1 = torch.tensor([prompt.ids[-1:] for prompt in batch.prompts], device=self.backbone.device)
        said = generate(self.backbone, last_B1, GREEDY, context, past=self._rows(past, range(len(batch.places))))
        logprobs = self._likelihoods(batch, past, hearing, context, record)
        for place, hypotheses, values in zip(batch.places, said, logprobs, strict=True):
            item = self.probe.items[place]
            text = self.backbone.tokenizer.decode(list(hypotheses[0].ids), skip_special_tokens=True)
            lengths = [len(self._tokens(choice)) for choice in item.choices]
            record.outcomes[item.question_id] = outcome(item, " ".join(text.split()), values, lengths)

    def _likelihoods(
        self, batch: _Batch, past: DynamicCache, hearing: Hearing, context: FusionContext | None, record: _Record
    ) -> list[list[float]]:
        """Return the log-probability of each choice of each question; every logit that they need goes into the record."""
        cache = self._rows(past, range(len(batch.places)))
        last_B1 = torch.tensor([prompt.ids[-1:] for prompt in batch.prompts], device=self.backbone.device)
        first_BV = self.backbone.logits(self.backbone.hidden(last_B1, None, cache, context)[:, -1]).float()
        record.add_logits(first_BV)
        logprobs_BV = first_BV.log_softmax(dim=-1)
        choices = [[self._tokens(text) for text in self.probe.items[place].choices] for place in batch.places]
        values = [
            [float(logprobs_V[ids[0]]) for ids in mine] for logprobs_V, mine in zip(logprobs_BV, choices, strict=True)
        ]
        longer = [(row, k) for row, mine in enumerate(choices) for k, ids in enumerate(mine) if len(ids) > 1]
        for start in range(0, len(longer), OPTIONS_AT_ONCE):
            some = longer[start : start + OPTIONS_AT_ONCE]
            further = self._read_on(batch, cache, hearing, some, [choices[row][k] for row, k in some], record)
            for (row, k), value in zip(some, further, strict=True):
                values[row][k] += value
        return values

    def _read_on(
        self,
        batch: _Batch,
        cache: DynamicCache,
        hearing: Hearing,
        places: Sequence[tuple[int, int]],
        choices: Sequence[Sequence[int]],
        record: _Record,
    ) -> list[float]:
        """Return the log-probability of the tokens of choices after their first."""
        rows = [row for row, _ in places]
        prompts = [batch.prompts[row] for row in rows]
        context = hearing.context([batch.places[row] for row in rows], prompts, self.backbone.device)
        # What fills up a row stands after its last token, which sees nothing that comes later: so no mask is needed.
        ids_RN = pad_sequence([torch.tensor(ids[:-1]) for ids in choices], True, self.backbone.pad_id)
        hidden_RND = self.backbone.hidden(ids_RN.to(self.backbone.device), None, self._rows(cache, rows), context)
        logits_RNV = self.backbone.logits(hidden_RND).float()
        values = []
        for logits_NV, ids in zip(logits_RNV, choices, strict=True):
            real_NV = logits_NV[: len(ids) - 1]
            record.add_logits(real_NV)
            targets_N1 = torch.tensor(ids[1:], device=real_NV.device)[:, None]
            values.append(float(real_NV.log_softmax(dim=-1).gather(1, targets_N1).sum()))
        return values

    def _tokens(self, answer: str) -> list[int]:
        """Return the tokens of an answer as they follow a prompt."""
        ids: list[int] = self.backbone.tokenizer(answer, add_special_tokens=False)["input_ids"]
        return ids

    def _rows(self, cache: DynamicCache, rows: Sequence[int]) -> DynamicCache:
        """Return a cache of its own with some of the rows."""
        index_R = torch.tensor(list(rows), device=self.backbone.device)
        chosen = [(keys.index_select(0, index_R), values.index_select(0, index_R)) for keys, values, *_ in cache]
        return DynamicCache(chosen, config=self.backbone.decoder.config)


def outcome(item: ProbeItem, text: str, logprobs: Sequence[float], lengths: Sequence[int]) -> Outcome:
    """Score an answer.

    Args:
        item: the question.
        text: what was said.
        logprobs: of each choice of the question.
        lengths: tokens of each choice.
    """
    known = item.choices.index(item.answer)
    return Outcome(
        text=text,
        exact=is_exact(text, item.answer),
        contains=contains_answer(text, item.answer),
        likelihood=likeliest(logprobs) == known if item.options else None,
        likelihood_normalised=likeliest(logprobs, lengths) == known if item.options else None,
        answer_logprob=logprobs[known],
    )
