"""What a system of several modalities says of a split by what is bound: captions, and answers to questions.

Conditions: all modalities together, each alone, ``none`` (the bare backbone), and for each modality all together with that one
taken from another clip (``shuffled-video``). An answer is the option with the largest likelihood; all conditions read the same
questions.

Shapes: B questions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from fusion_core.backbone import Backbone
from fusion_core.context import FusionContext
from fusion_core.prompt import Prompt
from fusion_core.systems.base import FusionSystem
from fusion_eval.schemas import Scores
from fusion_eval.schemas.questions import Accuracy, ModalityCondition, ModalityScores, QuestionItem, Questions
from fusion_eval.schemas.retention import Answers

from fusion_train.baselines import derangement
from fusion_train.captioner import CaptionCandidate, Captioner
from fusion_train.conditions import SplitData, score_and_write, to_predictions
from fusion_train.config import DecodingSettings
from fusion_train.modalities import ModalLookup
from fusion_train.retention_probe import Probe, ProbeItem
from fusion_train.retention_reading import Hearing, Layout, ProbeReader

MODALITIES_FILE = "modalities.json"
SCORING = (
    "the option with the largest sum of log-probabilities of its tokens; accuracy_normalised divides it by their number"
)
NONE = "none"


@dataclass(frozen=True)
class BoundAs:
    """One condition: what is bound, and which of it is another clip's."""

    name: str
    bound: tuple[str, ...]
    shuffled: tuple[str, ...] = ()


def conditions(modalities: Sequence[str]) -> list[BoundAs]:
    """Return the conditions of a system with these modalities, all together first."""
    names = tuple(sorted(modalities))
    alone = [BoundAs(name, (name,)) for name in names] if len(names) > 1 else []
    shuffled = [BoundAs(f"shuffled-{name}", names, (name,)) for name in names]
    return [BoundAs("+".join(names), names), *alone, *shuffled, BoundAs(NONE, ())]


@dataclass(frozen=True, eq=False)
class ClipHearing(Hearing):
    """Each question's own clip, as a condition gives it.

    Attributes:
        lookup: what is bound; None for nothing.
        hashes: of the questions' clips, in the order of the probe; where they are fewer, questions get them in turn.
    """

    lookup: ModalLookup | None = None
    hashes: tuple[str, ...] = ()

    def context(self, places: Sequence[int], prompts: Sequence[Prompt], device: torch.device) -> FusionContext | None:
        """Return the context for questions by their places in the probe; None where nothing is bound."""
        if self.system is None or self.lookup is None:
            return None
        self.system.eval()
        return (
            self.lookup.gather([self.hashes[place % len(self.hashes)] for place in places]).to(device).bind(self.system)
        )


class ModalExamination:
    """Captions a split and answers its questions under every condition.

    Args:
        backbone: the frozen model.
        system: the trained system of several modalities.
        prompt: the prompt of captions.
        lookup: the features.
        decoding: beam settings.
        seed: decides whose frames a clip gets in the shuffled conditions.
    """

    def __init__(
        self,
        backbone: Backbone,
        system: FusionSystem,
        prompt: Prompt,
        lookup: ModalLookup,
        decoding: DecodingSettings,
        seed: int,
    ) -> None:
        self.backbone = backbone
        self.system = system
        self.captioner = Captioner(backbone, system, prompt)
        self.lookup = lookup
        self.decoding = decoding
        self.seed = seed

    def captions(self, split: SplitData, condition: BoundAs) -> list[list[CaptionCandidate]]:
        """Return the candidates of every clip, best first."""
        if not condition.bound:
            return [self.captioner.caption_without_audio(self.decoding)] * len(split.clips)
        hashes = [clip.sha256 for clip in split.clips]
        return self.captioner.caption_all(hashes, self._bound(split, condition), self.decoding)

    def answers(self, split: SplitData, questions: Sequence[QuestionItem], which: Sequence[BoundAs]) -> list[Answers]:
        """Return the answers to questions under conditions, in their order; the prompts are read once for all of them."""
        hashes = {clip.id: clip.sha256 for clip in split.clips}
        clips = tuple(hashes[item.clip] for item in questions)
        hearings = [
            ClipHearing(self.system, lookup=self._bound(split, one), hashes=clips) if one.bound else ClipHearing()
            for one in which
        ]
        heard = self.system.hears_prompt
        reader = ProbeReader(self.backbone, as_probe(split.name, questions))
        bare = [hearing for hearing in hearings if hearing.lookup is None]
        bound = [hearing for hearing in hearings if hearing.lookup is not None]
        if not heard:
            return reader.answer(hearings, Layout())
        found = dict(zip(bound, reader.answer(bound, Layout(heard=True)), strict=True)) if bound else {}
        found |= dict(zip(bare, reader.answer(bare, Layout()), strict=True)) if bare else {}
        return [found[hearing] for hearing in hearings]

    def _bound(self, split: SplitData, condition: BoundAs) -> ModalLookup:
        lookup = self.lookup.only(condition.bound)
        for modality in condition.shuffled:
            having = [clip.sha256 for clip in split.clips if self.lookup.caches[modality].has(clip.sha256)]
            if len(having) > 1:
                order = derangement(len(having), self.seed)
                lookup = lookup.shuffled(
                    modality, {own: having[place] for own, place in zip(having, order, strict=True)}
                )
        return lookup


def as_probe(name: str, questions: Sequence[QuestionItem]) -> Probe:
    """Return questions in the form in which a backbone is asked."""
    items = [
        ProbeItem(question_id=item.id, text=item.text, answer=item.answer, category=item.category, options=item.options)
        for item in questions
    ]
    return Probe(name, tuple(items), Path())


def examine(
    examination: ModalExamination,
    split: SplitData,
    questions: Questions | None,
    folder: Path,
    system: str,
    run_id: str,
    announce: Callable[[str], None],
    captions: bool = True,
) -> dict[str, Scores]:
    """Caption and answer under every condition; write predictions, scores, answers and ``modalities.json``.

    With ``captions`` False the split's references are no captions, and questions alone are answered. Returns the scores of the
    captions by condition.
    """
    which = conditions(examination.lookup.modalities)
    if captions:
        announce(f"captions and scores: {', '.join(one.name for one in which)}")
    scores: dict[str, Scores] = {}
    for one in which if captions else ():
        label = system if one is which[0] else f"{system} ({one.name})"
        predictions = to_predictions(split, label, run_id, one.name, examination.captions(split, one))
        scores[one.name] = score_and_write(folder, one.name, predictions, split)
    known = {clip.id for clip in split.clips}
    asked = [item for item in questions.items if item.clip in known] if questions else []
    found: dict[str, Answers] = {}
    if asked:
        announce(f"questions: {len(asked)} under {len(which)} conditions")
        found = dict(zip((one.name for one in which), examination.answers(split, asked, which), strict=True))
        for name, answers in found.items():
            answers.write(folder / "answers" / f"{name}.json")
    ModalityScores(
        run_id=run_id,
        dataset=split.references.dataset,
        split=split.name,
        clips=len(split.clips),
        lacking=examination.lookup.lacking([clip.sha256 for clip in split.clips]),
        references_sha256=split.references.sha256(),
        questions_sha256=questions.sha256() if questions else None,
        scoring=SCORING,
        conditions={one.name: _condition(one, scores.get(one.name), asked, found.get(one.name)) for one in which},
    ).write(folder / MODALITIES_FILE)
    return scores


def _condition(
    one: BoundAs, scores: Scores | None, questions: Sequence[QuestionItem], answers: Answers | None
) -> ModalityCondition:
    cider_d = scores.metrics.get("cider_d") if scores else None
    if answers is None:
        return ModalityCondition(bound=one.bound, shuffled=one.shuffled, cider_d=cider_d)
    return ModalityCondition(
        bound=one.bound,
        shuffled=one.shuffled,
        cider_d=cider_d,
        questions=accuracy(questions, answers),
        by_kind=_grouped(questions, answers, lambda item: item.kind),
        by_category=_grouped(questions, answers, lambda item: item.category),
    )


def _grouped(
    questions: Sequence[QuestionItem], answers: Answers, key: Callable[[QuestionItem], str]
) -> dict[str, Accuracy]:
    groups: dict[str, list[QuestionItem]] = {}
    for item in questions:
        groups.setdefault(key(item), []).append(item)
    return {name: accuracy(found, answers) for name, found in sorted(groups.items())}


def accuracy(questions: Sequence[QuestionItem], answers: Answers) -> Accuracy:
    """Return how many of the questions were answered rightly by the likelihood of their options."""
    outcomes = [answers.outcomes[item.id] for item in questions]
    correct = sum(bool(one.likelihood) for one in outcomes)
    return Accuracy(
        n=len(questions),
        correct=correct,
        accuracy=correct / len(questions),
        accuracy_normalised=sum(bool(one.likelihood_normalised) for one in outcomes) / len(questions),
        chance=sum(1 / len(item.options) for item in questions) / len(questions),
    )
