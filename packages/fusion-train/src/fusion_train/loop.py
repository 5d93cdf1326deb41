"""The training loop: steps of an objective, evaluations, checkpoints, early stop, contingencies; exact when taken up again.

Shapes: B batch, S text positions.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from fusion_core.context import AdditionMeter
from fusion_core.files import write_atomic
from safetensors.torch import load

from fusion_train.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from fusion_train.config import RunSettings, ScheduleSettings
from fusion_train.judging import Validation
from fusion_train.learner import Learner, Pair
from fusion_train.live_curves import LiveCurves, TrainingProgress
from fusion_train.objectives.base import Objective
from fusion_train.optim import make_optimiser, make_schedule
from fusion_train.stopping import Diverged, Interrupted, stop_requested
from fusion_train.trackers import Trackers, ViewedJournal

BEST_FILE = "best.safetensors"
SCST_FOLDER = "scst"


@dataclass
class Progress:
    """Where a run is.

    Attributes:
        step: optimiser steps done.
        epoch: the epoch that the next step belongs to.
        position: steps done in that epoch.
        seconds: time spent in training, over all the times that the run was taken up.
        best_score: the best CIDEr-D of val so far.
        best_step: when it was reached; None before the first evaluation.
        since_best: evaluations without a better one.
        stopped_early: whether patience ran out.
        gates: gates by site at each evaluation.
        addition_ratio: ‖addition‖/‖stream‖ by site, as last measured.
        first_loss: the loss of the first step, per weight of its tokens; None before it.
        rollbacks: how often a contingency has gone back to a checkpoint.
    """

    step: int = 0
    epoch: int = 0
    position: int = 0
    seconds: float = 0.0
    best_score: float = -1.0
    best_step: int | None = None
    since_best: int = 0
    stopped_early: bool = False
    gates: list[dict[str, float]] = field(default_factory=list)
    addition_ratio: dict[str, float] = field(default_factory=dict)
    first_loss: float | None = None
    rollbacks: int = 0


class Trainer:
    """Trains one system on one split.

    Args:
        learner: backbone, system, examples and how they are read, in this process.
        objectives: what a step learns from; the first is the one whose loss the log calls ``loss``.
        validation: judges the weights as they are on val; called in every process.
        settings: the run's settings.
        folder: the run directory.
        schedule: the steps of this training; by default those of the settings.
        rate: factor of all learning rates.
        trackers: where the log's values go beside the log, such as ``tensorboard``.

    Attributes:
        observers: called after each evaluation, in the process that writes, with its number (from 1), the step and the score.
    """

    def __init__(
        self,
        learner: Learner,
        objectives: Sequence[Objective],
        validation: Validation,
        settings: RunSettings,
        folder: Path,
        schedule: ScheduleSettings | None = None,
        rate: float = 1.0,
        trackers: Sequence[str] = (),
    ) -> None:
        self.learner = learner
        self.system = learner.system
        self.objectives = list(objectives)
        self.validation = validation
        self.settings = settings
        self.folder = folder
        self.checkpoints = folder / "checkpoints"
        self.accelerator = learner.accelerator
        self.curves = LiveCurves()
        views = Trackers(trackers, folder, run_name(folder), settings.model_dump(mode="json"), main=self.is_main)
        self.journal = ViewedJournal(folder / journal_name(self.accelerator), self.curves, views)
        own = {objective.name: objective.module for objective in self.objectives}
        self.modules = {"system": self.system, **{name: module for name, module in own.items() if module is not None}}
        self.timetable = schedule or settings.schedule
        optimiser = make_optimiser(self.modules, settings.optimiser, rate)
        self.schedule = make_schedule(optimiser, self.timetable)
        self.optimiser = self.accelerator.prepare(optimiser)
        self.progress = Progress()
        self.observers: list[Callable[[int, int, float], object]] = []
        self._stream: Iterator[list[Pair]] | None = None
        if settings.gradient_checkpointing:
            learner.backbone.model.activation_checkpointing_enable({"use_reentrant": False})

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes."""
        return bool(self.accelerator.is_main_process)

    def resume(self) -> int:
        """Take up the newest checkpoint, if there is one; return the step it stands at."""
        found = list_checkpoints(self.checkpoints)
        if found:
            self._restore(found[-1])
            self.journal.write("resumed", step=self.progress.step)
        return self.progress.step

    def train(self) -> Progress:
        """Train to the last step or until patience runs out, then load the best weights.

        Raises:
            Interrupted: SIGINT or SIGTERM came; the state is saved.
            Diverged: the loss is not a number, and going back did not help.
        """
        if not list_checkpoints(self.checkpoints):
            self._save()  # what a contingency can go back to before the first checkpoint is due
        self._prepare()
        try:
            self._run()
        finally:
            self.journal.close()
        self._finish()
        return self.progress

    def _run(self) -> None:
        """Do the steps that are left, with the bar and the curves of the run in the terminal."""
        with stop_requested() as stop, TrainingProgress(self.curves) as bar:
            task = bar.add_task("train", total=self.timetable.steps, completed=self.progress.step, status="")
            for pairs in self._remaining():
                started = time.perf_counter()
                try:
                    facts = self._step(pairs)
                except Diverged as reason:
                    self._go_back(reason)
                    bar.update(task, completed=self.progress.step)
                    continue
                self._count_step()
                self.progress.seconds += time.perf_counter() - started
                self._after_step(facts)
                bar.update(task, completed=self.progress.step, status=self._status(facts))
                if self._asked_to_stop(stop.is_set()) and self.progress.step < self.timetable.steps:
                    self._save()
                    self.accelerator.wait_for_everyone()  # a process that leaves early would take the writing one with it
                    raise Interrupted(f"Stopped at step {self.progress.step}; go on with --resume --out {self.folder}.")

    def _finish(self) -> None:
        """Load the best weights and measure what they add."""
        self.accelerator.wait_for_everyone()
        best = self.folder / BEST_FILE
        if best.is_file():
            self.system.load_state_dict(load(best.read_bytes()))
        self.progress.addition_ratio = self._addition_ratio()
        progress = self.progress
        ratios = progress.addition_ratio
        self.journal.write("trained", step=progress.step, best_step=progress.best_step, addition_ratio=ratios)

    def _prepare(self) -> None:
        """Compute beforehand what the steps to come will read; the first process fills the cache for the others."""
        with self.accelerator.main_process_first():
            self.learner.prepare(self._upcoming())

    def _batches(self) -> Iterator[list[Pair]]:
        """Yield the effective batches from where the run stands, without end."""
        size = self.settings.batch * self.settings.accumulate
        for epoch in itertools.count(self.progress.epoch):
            skipped = self.progress.position if epoch == self.progress.epoch else 0
            yield from itertools.islice(self.learner.examples.epoch(epoch, size), skipped, None)

    def _remaining(self) -> Iterator[list[Pair]]:
        """Yield the effective batches that are still to do, also after going back."""
        while self.progress.step < self.timetable.steps and not self.progress.stopped_early:
            self._stream = self._stream or self._batches()
            yield next(self._stream)

    def _upcoming(self) -> set[Pair]:
        """Return the pairs of the steps that are still to do."""
        wanted = itertools.islice(self._batches(), self.timetable.steps - self.progress.step)
        return {pair for pairs in wanted for pair in pairs}

    def _count_step(self) -> None:
        progress = self.progress
        progress.step += 1
        progress.position += 1
        if progress.position == self.learner.examples.batches_an_epoch(self.settings.batch * self.settings.accumulate):
            progress.epoch, progress.position = progress.epoch + 1, 0

    def _step(self, pairs: list[Pair]) -> dict[str, Any]:
        """Do one optimiser step over an effective batch; return what the log says of it.

        Batches differ in what their tokens weigh, so it is the loss per weight that tells whether training diverges.

        Raises:
            Diverged: the loss or the gradient is not a number, or the loss is far above the first.
        """
        self.system.train()
        self.learner.backbone.model.train(self.settings.gradient_checkpointing)
        facts: dict[str, Any] = {}
        for objective in self.objectives:
            facts |= objective.accumulate(pairs, self.progress.step)
        penalty = self.settings.optimiser.gate_penalty * self.system.penalty()
        self.learner.backward(penalty / self.accelerator.num_processes)
        parameters = [parameter for module in self.modules.values() for parameter in module.parameters()]
        self.learner.sum_gradients(parameters)
        clip = self.settings.optimiser.clip_norm * self.settings.contingency.clip_factor**self.progress.rollbacks
        norm = float(self.accelerator.clip_grad_norm_(parameters, clip))
        self._refuse_divergence(facts["loss"] / facts.get("mean_weight", 1.0), norm)
        self.optimiser.step()
        self.schedule.step()
        self._set_rates()
        self.optimiser.zero_grad()
        return {**facts, "gradient_norm": norm}

    def _refuse_divergence(self, loss: float, norm: float) -> None:
        step = self.progress.step + 1
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise Diverged(f"The loss is not a number at step {step}; lower the learning rates by --set.")
        if self.progress.first_loss is None:
            self.progress.first_loss = loss
        limit = self.settings.contingency.loss_factor * abs(self.progress.first_loss)
        if self.objectives[0].name == "xe" and loss > limit:
            raise Diverged(
                f"The loss is {loss:.2f} at step {step}, over {limit:.2f}; lower the learning rates by --set."
            )

    def _go_back(self, reason: Diverged) -> None:
        """Take up the last good checkpoint with a lower learning rate and a higher clipping norm, or give up.

        Raises:
            Diverged: that was done as often as the settings allow.
        """
        rules = self.settings.contingency
        if self.progress.rollbacks >= rules.rollbacks:
            raise reason
        done = self.progress.rollbacks + 1
        self.optimiser.zero_grad()
        self._restore(list_checkpoints(self.checkpoints)[-1])
        self.progress.rollbacks = done
        self._set_rates()
        self.journal.write(
            "contingency",
            step=self.progress.step,
            trigger=str(reason),
            action="rollback",
            rollbacks=done,
            rate_factor=rules.rate_factor**done,
            clip_factor=rules.clip_factor**done,
        )
        self._save()

    def _restore(self, checkpoint: Path) -> None:
        kept = load_checkpoint(checkpoint, self.modules, self.optimiser.optimizer)
        self.schedule.load_state_dict(kept.pop("schedule"))
        self.progress = Progress(**kept)
        self._stream = None
        self._set_rates()

    def _set_rates(self) -> None:
        """Set the learning rates that the schedule and the contingencies so far ask for."""
        factor = self.settings.contingency.rate_factor**self.progress.rollbacks
        for group, rate in zip(self.optimiser.param_groups, self.schedule.get_last_lr(), strict=True):
            group["lr"] = rate * factor

    def _asked_to_stop(self, here: bool) -> bool:
        """Say whether any process was asked to stop."""
        return self.learner.total(float(here)) > 0

    def _after_step(self, facts: dict[str, Any]) -> None:
        """Log, evaluate and save where it is due."""
        step = self.progress.step
        gates = {str(site): round(value, 6) for site, value in self.system.gate_values().items()}
        rates = {group["part"]: group["lr"] for group in self.optimiser.param_groups}
        self.journal.write("step", step=step, **facts, learning_rates=rates, gates=gates)
        last = step == self.timetable.steps
        if step % self.settings.evaluation.every == 0 or last:
            self._evaluate(gates)
        if step % self.settings.checkpoint_every == 0 or last or self.progress.stopped_early:
            self._save()

    def _status(self, facts: dict[str, Any]) -> str:
        """Return what the progress bar says beside the steps and the time left."""
        rate = max(group["lr"] for group in self.optimiser.param_groups if group["part"] != "gates")
        parts = [f"loss {facts['loss']:.3f}", f"lr {rate:.1e}"]
        if "reward" in facts:
            parts.append(f"reward {facts['reward']:.3f}")
        parts += [f"α{site} {value:.2f}" for site, value in list(self.system.gate_values().items())[:3]]
        if self.progress.best_step is not None:
            parts.append(f"{self.validation.label} {self.progress.best_score:.3f} at {self.progress.best_step}")
        return "  ".join(parts)

    def _evaluate(self, gates: dict[str, float]) -> None:
        """Judge on val, keep the weights if they are the best so far, and count patience."""
        started = time.perf_counter()
        progress = self.progress
        progress.gates.append({"step": progress.step, **gates})
        score = self.judge()
        progress.stopped_early = progress.since_best >= self.settings.evaluation.patience
        self.journal.write(
            "evaluated",
            step=progress.step,
            **{self.validation.metric: score},
            best_step=progress.best_step,
            stopped_early=progress.stopped_early,
            addition_ratio=progress.addition_ratio,
            seconds=round(time.perf_counter() - started, 3),
        )
        for observe in self.observers if self.is_main else ():
            observe(len(progress.gates), progress.step, score)
        self.accelerator.wait_for_everyone()

    def judge(self) -> float:
        """Score the weights as they are on val, and keep them if they are the best so far; return the score."""
        score = self.validation.score()
        progress = self.progress
        progress.addition_ratio = self._addition_ratio()
        if score > progress.best_score:
            progress.best_score, progress.best_step, progress.since_best = score, progress.step, 0
            if self.is_main:
                write_atomic(self.folder / BEST_FILE, self.system.adapter_bytes())
        else:
            progress.since_best += 1
        return score

    @torch.no_grad()
    def _addition_ratio(self) -> dict[str, float]:
        """Measure ‖addition‖/‖stream‖ by site: the median over the positions of the first clips of the training split."""
        if self.system.projector is None:
            return {}
        examples = self.learner.examples
        self.system.eval()
        self.learner.backbone.model.eval()
        batch = self.learner.collate([(clip, 0) for clip in range(min(self.settings.batch, len(examples.clips)))])
        meter = AdditionMeter(self.learner.heard(batch), batch.mask_BS)
        self.learner.backbone.hidden(batch.ids_BS, batch.mask_BS, fusion=meter)
        return {str(block): round(ratio, 6) for block, ratio in meter.ratios().items()}

    def _save(self) -> None:
        if not self.is_main:
            return
        state = {**vars(self.progress), "schedule": self.schedule.state_dict()}
        step = state.pop("step")
        keep = self.settings.checkpoints_kept
        save_checkpoint(self.checkpoints, step, self.modules, self.optimiser.optimizer, state, keep)


def run_name(folder: Path) -> str:
    """Return the name of a run: that of its directory, with its parent's where a second phase lies inside the first one's."""
    return f"{folder.parent.name}-{folder.name}" if folder.name == SCST_FOLDER else folder.name


def journal_name(accelerator: Accelerator) -> str:
    """Return the name of a process's log: ``log.jsonl`` for the one that writes, ``log.1.jsonl``, … for the others."""
    return "log.jsonl" if accelerator.is_main_process else f"log.{accelerator.process_index}.jsonl"
