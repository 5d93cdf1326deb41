"""Retention during training: at chosen evaluations a part of a probe is asked, and the stability frontier is written.

``stability.jsonl`` in the run directory has one row an evaluation: the step, the score of what is heard, and by condition the
share of right answers by each scoring and the mean log-probability of the known answers (which moves before an answer flips). The
row of a step that was done again replaces the earlier one.
"""

from __future__ import annotations

from pathlib import Path

from fusion_core.backbone import Backbone
from fusion_core.journal import Journal
from fusion_core.systems.base import FusionSystem
from fusion_eval.schemas.retention import SCORINGS, Answers

from fusion_train.retention_probe import Probe
from fusion_train.retention_reading import Hearing, Layout, ProbeReader
from fusion_train.retention_sounds import Clips, hearing_of

STABILITY_FILE = "stability.jsonl"
Accuracy = dict[str, float]


class RetentionLog:
    """Asks a probe while a system trains.

    What the untouched backbone answers is measured at once, for which a system that trains its weights is detached for a moment.
    Later *none* is asked only of such a system: with any other it is the same to the bit. *distractor* is asked of what hears.

    Args:
        backbone: the frozen model.
        system: what trains, attached.
        probe: the questions.
        distractors: clips that have nothing to do with the questions, with all modalities that the system has.
        folder: the run directory.
        every: evaluations from one measurement to the next.

    Raises:
        ConfigError: the probe has images and the backbone sees none.
    """

    def __init__(
        self,
        backbone: Backbone,
        system: FusionSystem,
        probe: Probe,
        distractors: Clips,
        folder: Path,
        every: int = 1,
    ) -> None:
        self.system = system
        self.every = every
        self.reader = ProbeReader(backbone, probe)
        self.journal = Journal(folder / STABILITY_FILE)
        self.hearings: dict[str, tuple[Hearing, Layout]] = {}
        if system.changes_backbone:
            self.hearings["none"] = (Hearing(system), Layout())
        if system.projector is not None:
            heard = Layout(slots=system.slots, heard=system.hears_prompt)
            self.hearings["distractor"] = (hearing_of(system, distractors), heard)
        system.detach()
        (before,) = self.reader.answer([Hearing()], Layout())
        system.attach(backbone)
        self.before = accuracy(before)

    def measure(self, evaluation: int, step: int, score: float) -> dict[str, Accuracy]:
        """Measure the weights as they are and write a row; nothing where this evaluation is not one of the chosen.

        Args:
            evaluation: counts from 1.
            step: optimiser steps done.
            score: of what is heard on val, such as CIDEr-D.
        """
        if evaluation % self.every:
            return {}
        found = {"before": self.before}
        for condition, (hearing, layout) in self.hearings.items():
            found[condition] = accuracy(self.reader.answer([hearing], layout)[0])
        self.journal.write("evaluated", step=step, score=score, **found)
        return found


def accuracy(answers: Answers) -> Accuracy:
    """Return the share of right answers by scoring, and the mean log-probability of the known ones."""
    outcomes = list(answers.outcomes.values())
    shares: Accuracy = {}
    for scoring in SCORINGS:
        known = [value for value in (getattr(outcome, scoring) for outcome in outcomes) if value is not None]
        if known:
            shares[scoring] = sum(known) / len(known)
    return shares | {"answer_logprob": sum(outcome.answer_logprob for outcome in outcomes) / len(outcomes)}


def stability_frontier(folder: Path) -> list[dict[str, object]]:
    """Return the rows of a run, the last of each step, by step."""
    rows = {int(row["step"]): row for row in Journal(folder / STABILITY_FILE).read()}
    return [rows[step] for step in sorted(rows)]
