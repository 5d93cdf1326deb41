"""Retention: does a backbone that learned to hear still answer as it did? Before and after, question by question.

Conditions: *none* (nothing bound: by contract the very bits of the untouched backbone, unless a system trains its weights),
*silence*, *distractor* (a clip that has nothing to do with the question, with all modalities that it has) and
*earlier_distractor* (of a run that began with another one: that one's clips, by its modality alone, so that both runs are asked
the same), each against the backbone as it was; *blind* (nothing bound and no image shown), against the backbone blind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
import transformers
from fusion_core.backbone import Backbone
from fusion_core.errors import ConfigError
from fusion_core.files import cache_dir
from fusion_core.vision import VisionBackbone
from fusion_encoders.base import canonical_json
from fusion_eval.retention import MARGIN, METHOD, compare_answers
from fusion_eval.schemas.retention import (
    CONDITIONS,
    Answers,
    Condition,
    Question,
    Retention,
    RetentionBackbone,
    Scoring,
)

from fusion_train.datasets.registry import prepare_dataset
from fusion_train.datasets.visual_questions import VisualQuestionsOptions, VisualQuestionsRecipe
from fusion_train.retention_probe import Probe, load_probe
from fusion_train.retention_reading import GREEDY, QUESTIONS_AT_ONCE, Hearing, Layout, ProbeReader
from fusion_train.retention_runs import SoundLibrary, Sounds, TrainedRun
from fusion_train.retention_sounds import hearing_of
from fusion_train.text_questions import NAME as TEXT_QUESTIONS
from fusion_train.text_questions import text_probe

RETENTION_FILE = "retention.json"
READING_VERSION = 2
"""Counts up whenever the same backbone and probe give other answers."""

SILENCE: Condition = "silence"
DISTRACTOR: Condition = "distractor"
EARLIER: Condition = "earlier_distractor"
BARE, BLIND = Layout(), Layout(image=False)
Task = tuple[Hearing, Layout]


@dataclass(frozen=True)
class Inquiry:
    """What is asked of runs.

    Attributes:
        probe: the questions.
        conditions: under which they are answered.
        scoring: what the verdicts are about.
        sounds: what is heard.
    """

    probe: Probe
    conditions: tuple[Condition, ...] = CONDITIONS
    scoring: Scoring = "exact"
    sounds: SoundLibrary = field(default_factory=SoundLibrary)


class RetentionMeasurement:
    """Measures runs that share a backbone.

    Args:
        backbone: the frozen model, with nothing attached.
        inquiry: what is asked.

    Raises:
        ConfigError: the probe has images and the backbone sees none, or *blind* is asked for and no question has an image.
    """

    def __init__(self, backbone: Backbone, inquiry: Inquiry) -> None:
        self.backbone = backbone
        self.inquiry = inquiry
        self.readers = {True: ProbeReader(backbone, inquiry.probe)}
        seen = inquiry.probe.with_images()
        if "blind" in inquiry.conditions:
            if not seen.items:
                raise ConfigError(
                    f"No question of {inquiry.probe.name} has an image, so none can be asked blind; leave blind out."
                )
            self.readers[False] = ProbeReader(backbone, seen)
        self.before = {image: self._before(reader, Layout(image=image)) for image, reader in self.readers.items()}

    def measure(self, runs: Sequence[TrainedRun]) -> list[Retention]:
        """Return what became of the answers in each run; what the runs share is read once.

        Raises:
            ConfigError: a run can be asked under none of the conditions.
        """
        distracted = any(name in self.inquiry.conditions for name in (DISTRACTOR, EARLIER))
        sounds = {run: self.inquiry.sounds.sounds(run, distracted) for run in runs}
        unbound = Hearing()
        tasks = {
            run: self._tasks(run, sounds[run], Hearing(run.system) if run.system.changes_backbone else unbound)
            for run in runs
        }
        answers: dict[Task, Answers] = {}
        frozen = [run for run in runs if not run.system.changes_backbone]
        for together in ([frozen] if frozen else []) + [[run] for run in runs if run.system.changes_backbone]:
            for run in together:
                run.system.to(self.backbone.device).attach(self.backbone)
            answers |= self._answer([task for run in together for task in tasks[run].values()])
            for run in together:
                run.system.detach()
        return [self._compare(run, tasks[run], answers, sounds[run]) for run in runs]

    def _before(self, reader: ProbeReader, layout: Layout) -> Answers:
        """Return what the untouched backbone answers, from the user's cache where it has answered before."""
        self.backbone.require_untouched()
        path = cache_dir() / "retention" / f"{self._key(reader.probe, layout)}.json"
        if path.is_file():
            return Answers.read(path)
        (answers,) = reader.answer([Hearing()], layout)
        answers.write(path)
        return answers

    def _key(self, probe: Probe, layout: Layout) -> str:
        """Return the hash of all that decides the bits of an answer."""
        identity = {
            "version": READING_VERSION,
            "backbone": self.backbone.identity.name,
            "weights_sha256": self.backbone.identity.weights_sha256,
            "type": str(self.backbone.dtype),
            "device": self.backbone.device.type,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "probe_sha256": probe.sha256,
            "image": layout.image,
            "together": QUESTIONS_AT_ONCE,
            "max_new_tokens": GREEDY.max_new_tokens,
        }
        return hashlib.sha256(canonical_json(identity).encode()).hexdigest()

    def _tasks(self, run: TrainedRun, sounds: Sounds, bare: Hearing) -> dict[Condition, Task]:
        """Return what has to be answered for each condition; equal tasks are one.

        Args:
            run: who is asked.
            sounds: what it hears.
            bare: nothing bound. Runs that leave the backbone's weights as they are share it: all are attached to the backbone
                when it answers, so that one that adds something unasked changes the bits of all.
        """
        tasks: dict[Condition, Task] = {"none": (bare, BARE), "blind": (bare, BLIND)}
        heard = Layout(slots=run.system.slots, heard=run.system.hears_prompt)
        bound = {SILENCE: sounds.silence, DISTRACTOR: sounds.distractors}
        if sounds.earlier is not None:
            bound[EARLIER] = sounds.earlier
        for condition, clips in bound.items():
            tasks[condition] = (hearing_of(run.system, clips), heard) if clips else tasks["none"]
        asked = {condition: tasks[condition] for condition in self.inquiry.conditions if condition in tasks}
        if not asked:
            raise ConfigError(
                f"{run.folder} cannot be asked under {EARLIER}: it did not begin with a run of one modality that is still here; "
                f"take {DISTRACTOR}."
            )
        return asked

    def _answer(self, tasks: Sequence[Task]) -> dict[Task, Answers]:
        answers: dict[Task, Answers] = {}
        for layout in dict.fromkeys(layout for _, layout in tasks):
            hearings = list(dict.fromkeys(hearing for hearing, its in tasks if its == layout))
            found = self.readers[layout.image].answer(hearings, layout)
            answers |= {(hearing, layout): one for hearing, one in zip(hearings, found, strict=True)}
        return answers

    def _compare(
        self, run: TrainedRun, tasks: dict[Condition, Task], answers: dict[Task, Answers], sounds: Sounds
    ) -> Retention:
        scoring = self.inquiry.scoring
        conditions = {}
        for condition, (hearing, layout) in tasks.items():
            questions = questions_of(self.readers[layout.image].probe)
            before = self.before[layout.image]
            conditions[condition] = compare_answers(questions, before, answers[hearing, layout], scoring)
        identity = self.backbone.identity
        return Retention(
            run_id=run.card.run_id,
            system=run.system.name,
            adapter_sha256=hashlib.sha256(run.system.adapter_bytes()).hexdigest(),
            backbone=RetentionBackbone(
                name=identity.name, weights_sha256=identity.weights_sha256, precision=str(self.backbone.dtype)
            ),
            probe=self.inquiry.probe.name,
            probe_sha256=self.inquiry.probe.sha256,
            scoring=scoring,
            margin=MARGIN,
            conditions=conditions,
            distractors=sounds.source,
            method=METHOD,
        )


def choose_probe(name: str | None, backbone: Backbone) -> Probe:
    """Return a probe by its name or place, or the one that suits the backbone.

    Args:
        name: ``visual-questions`` (made where it is not there, in the size that the backbone sees), ``text-questions``, or a file
            of JSON lines or its folder; None takes the first for a backbone that sees, the second for one that does not.
        backbone: who is asked.

    Raises:
        DataError: the probe is absent or malformed.
    """
    if name == TEXT_QUESTIONS or (name is None and not isinstance(backbone, VisionBackbone)):
        return text_probe()
    if name is not None and name != VisualQuestionsRecipe.name:
        return load_probe(Path(name))
    size = backbone.image_size if isinstance(backbone, VisionBackbone) else VisualQuestionsOptions().size
    return load_probe(prepare_dataset(VisualQuestionsRecipe.name, VisualQuestionsOptions(size=size)).root)


def questions_of(probe: Probe) -> dict[str, Question]:
    """Return what the statistics need to know of each question."""
    return {
        item.question_id: Question(category=item.category, cluster=item.cluster, answer=item.answer)
        for item in probe.items
    }


def failed(retention: Retention) -> list[str]:
    """Return the conditions in which it was not shown that nothing was lost; blind does not count."""
    return [
        name
        for name, found in retention.conditions.items()
        if name != "blind" and found.verdict not in ("identical", "kept")
    ]


def write_retention(folder: Path, retention: Retention) -> Path:
    """Write ``retention.json`` into a folder and return its path."""
    path = folder / RETENTION_FILE
    retention.write(path)
    return path
