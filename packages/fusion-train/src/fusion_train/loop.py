"""The training loop: XE steps, evaluations, checkpoints, early stop; exact when taken up again.

Shapes: B batch, K audio tokens, A encoder width.
"""

from __future__ import annotations

import itertools
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator
from fusion_core.backbone import Backbone
from fusion_core.context import AdditionMeter
from fusion_core.errors import FusionError
from fusion_core.files import write_atomic
from fusion_core.journal import Journal
from fusion_core.progress import progress_bar
from fusion_core.systems.base import FusionSystem
from rich.progress import TextColumn
from safetensors.torch import load

from fusion_train.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from fusion_train.config import RunSettings
from fusion_train.examples import TrainingExamples
from fusion_train.objectives.xe import cross_entropy_sum
from fusion_train.optim import make_optimiser, make_schedule
from fusion_train.reading import Reader, heard_from

BEST_FILE = "best.safetensors"


class Interrupted(FusionError):  # noqa: N818 - the name of a state, not of a mistake
    """The run was asked to stop; its state is saved."""

    exit_code = 130


class Diverged(FusionError):  # noqa: N818
    """The loss is no longer a number."""

    exit_code = 1


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


class Trainer:
    """Trains one system on one split.

    Args:
        backbone: the frozen model.
        system: what trains.
        examples: the training split.
        evaluate: captions val with the weights as they are and returns CIDEr-D.
        settings: the run's settings.
        folder: the run directory.
        reader: runs batches through the backbone; None runs prompt and caption of each through all blocks.
    """

    def __init__(
        self,
        backbone: Backbone,
        system: FusionSystem,
        examples: TrainingExamples,
        evaluate: Callable[[], float],
        settings: RunSettings,
        folder: Path,
        reader: Reader | None = None,
    ) -> None:
        self.reader = reader or Reader(backbone, examples.prompt)
        self.backbone = backbone
        self.system = system
        self.examples = examples
        self.evaluate = evaluate
        self.settings = settings
        self.folder = folder
        self.checkpoints = folder / "checkpoints"
        self.journal = Journal(folder / "log.jsonl")
        self.accelerator = Accelerator(cpu=backbone.device.type == "cpu")
        optimiser = make_optimiser(system, settings.optimiser)
        self.schedule = make_schedule(optimiser, settings.schedule)
        self.optimiser = self.accelerator.prepare(optimiser)
        self.progress = Progress()
        if settings.gradient_checkpointing:
            backbone.model.activation_checkpointing_enable({"use_reentrant": False})

    def resume(self) -> int:
        """Take up the newest checkpoint, if there is one; return the step it stands at."""
        found = list_checkpoints(self.checkpoints)
        if found:
            kept = load_checkpoint(found[-1], self.system, self.optimiser.optimizer)
            self.schedule.load_state_dict(kept.pop("schedule"))
            for group, rate in zip(self.optimiser.param_groups, self.schedule.get_last_lr(), strict=True):
                group["lr"] = rate
            self.progress = Progress(**kept)
            self.journal.write("resumed", step=self.progress.step)
        return self.progress.step

    def train(self) -> Progress:
        """Train to the last step or until patience runs out, then load the best weights.

        Raises:
            Interrupted: SIGINT or SIGTERM came; the state is saved.
            Diverged: the loss is not a number.
        """
        steps = self.settings.schedule.steps
        self.reader.prepare(self.examples.tokens[clip][caption][:-1] for clip, caption in self._upcoming())
        with _stop_requested() as stop, progress_bar(TextColumn("{task.fields[status]}")) as bar:
            task = bar.add_task("train", total=steps, completed=self.progress.step, status="")
            for pairs in self._remaining():
                started = time.perf_counter()
                facts = self._step(pairs)
                self._count_step()
                self.progress.seconds += time.perf_counter() - started
                self._after_step(facts)
                bar.update(task, advance=1, status=self._status(facts))
                if stop.is_set() and self.progress.step < steps:
                    self._save()
                    raise Interrupted(f"Stopped at step {self.progress.step}; go on with --resume --out {self.folder}.")
                if self.progress.stopped_early:
                    break
        best = self.folder / BEST_FILE
        if best.is_file():
            self.system.load_state_dict(load(best.read_bytes()))
        self.progress.addition_ratio = self._addition_ratio()
        self.journal.write(
            "trained",
            step=self.progress.step,
            best_step=self.progress.best_step,
            addition_ratio=self.progress.addition_ratio,
        )
        return self.progress

    def _remaining(self) -> Iterator[list[tuple[int, int]]]:
        """Yield the effective batches that are still to do."""
        size = self.settings.batch * self.settings.accumulate
        while self.progress.step < self.settings.schedule.steps and not self.progress.stopped_early:
            epoch = list(self.examples.epoch(self.progress.epoch, size))
            for pairs in epoch[self.progress.position :]:
                if self.progress.step >= self.settings.schedule.steps:
                    return
                yield pairs
            self.progress.epoch += 1
            self.progress.position = 0

    def _upcoming(self) -> set[tuple[int, int]]:
        """Return the (clip, caption) pairs of the steps that are still to do."""
        size = self.settings.batch * self.settings.accumulate
        left = self.settings.schedule.steps - self.progress.step
        epochs = range(self.progress.epoch, self.progress.epoch + left // self.examples.batches_an_epoch(size) + 2)
        batches = (pairs for epoch in epochs for pairs in self.examples.epoch(epoch, size))
        wanted = itertools.islice(batches, self.progress.position, self.progress.position + left)
        return {pair for pairs in wanted for pair in pairs}

    def _count_step(self) -> None:
        self.progress.step += 1
        self.progress.position += 1

    def _step(self, pairs: list[tuple[int, int]]) -> dict[str, Any]:
        """Do one optimiser step over the forward passes of an effective batch; return what the log says of it."""
        device = self.backbone.device
        size = self.settings.batch
        starts = range(0, len(pairs), size)
        batches = [self.examples.collate(pairs[start : start + size]).to(device) for start in starts]
        tokens = sum(batch.tokens for batch in batches)
        total = 0.0
        self.system.train()
        self.backbone.model.train(self.settings.gradient_checkpointing)
        for batch in batches:
            slots_BS = self.examples.prompt.slot_index(batch.ids_BS.shape[1])
            context = self.system.bind(batch.features.x_BTA, batch.features.mask_BT, slots_BS)
            loss = cross_entropy_sum(self.reader, batch, context) / tokens
            self.accelerator.backward(loss)
            total += float(loss.detach())
        penalty = self.settings.optimiser.gate_penalty * self.system.penalty()
        if penalty.requires_grad:  # a system without gates has none
            self.accelerator.backward(penalty)
        norm = self.accelerator.clip_grad_norm_(self.system.parameters(), self.settings.optimiser.clip_norm)
        if not math.isfinite(total) or not math.isfinite(float(norm)):
            raise Diverged(
                f"The loss is not a number at step {self.progress.step + 1}; lower the learning rates by --set."
            )
        self.optimiser.step()
        self.schedule.step()
        self.optimiser.zero_grad()
        return {"loss": total, "gradient_norm": float(norm), "tokens": tokens, "clips": len(pairs)}

    def _after_step(self, facts: dict[str, Any]) -> None:
        """Log, evaluate and save where it is due."""
        step = self.progress.step
        gates = {str(site): round(value, 6) for site, value in self.system.gate_values().items()}
        rates = {group["part"]: group["lr"] for group in self.optimiser.param_groups}
        self.journal.write("step", step=step, **facts, learning_rates=rates, gates=gates)
        last = step == self.settings.schedule.steps
        if step % self.settings.evaluation.every == 0 or last:
            self._evaluate(gates)
        if step % self.settings.checkpoint_every == 0 or last or self.progress.stopped_early:
            self._save()

    def _status(self, facts: dict[str, Any]) -> str:
        """Return what the progress bar says beside the steps and the time left."""
        rate = max(group["lr"] for group in self.optimiser.param_groups if group["part"] != "gates")
        parts = [f"loss {facts['loss']:.3f}", f"lr {rate:.1e}"]
        parts += [f"α{site} {value:.2f}" for site, value in list(self.system.gate_values().items())[:3]]
        if self.progress.best_step is not None:
            parts.append(f"val CIDEr-D {self.progress.best_score:.3f} at {self.progress.best_step}")
        return "  ".join(parts)

    def _evaluate(self, gates: dict[str, float]) -> None:
        """Caption val, keep the weights if they are the best so far, and count patience."""
        started = time.perf_counter()
        score = self.evaluate()
        progress = self.progress
        progress.gates.append({"step": progress.step, **gates})
        progress.addition_ratio = self._addition_ratio()
        if score > progress.best_score:
            progress.best_score, progress.best_step, progress.since_best = score, progress.step, 0
            write_atomic(self.folder / BEST_FILE, self.system.adapter_bytes())
        else:
            progress.since_best += 1
            progress.stopped_early = progress.since_best >= self.settings.evaluation.patience
        self.journal.write(
            "evaluated",
            step=progress.step,
            cider_d=score,
            best_step=progress.best_step,
            stopped_early=progress.stopped_early,
            addition_ratio=progress.addition_ratio,
            seconds=round(time.perf_counter() - started, 3),
        )

    @torch.no_grad()
    def _addition_ratio(self) -> dict[str, float]:
        """Measure ‖addition‖/‖stream‖ by site: the median over the positions of the first clips of the training split."""
        if self.system.projector is None:
            return {}
        clips = range(min(self.settings.batch, len(self.examples.clips)))
        batch = self.examples.collate([(clip, 0) for clip in clips]).to(self.backbone.device)
        self.system.eval()
        self.backbone.model.eval()
        slots_BS = self.examples.prompt.slot_index(batch.ids_BS.shape[1])
        context = self.system.bind(batch.features.x_BTA, batch.features.mask_BT, slots_BS)
        meter = AdditionMeter(heard_from(context, self.examples.prompt), batch.mask_BS)
        self.backbone.hidden(batch.ids_BS, batch.mask_BS, fusion=meter)
        return {str(block): round(ratio, 6) for block, ratio in meter.ratios().items()}

    def _save(self) -> None:
        state = {**vars(self.progress), "schedule": self.schedule.state_dict()}
        step = state.pop("step")
        save_checkpoint(self.checkpoints, step, self.system, self.optimiser.optimizer, state)


@contextmanager
def _stop_requested() -> Iterator[threading.Event]:
    """Turn SIGINT and SIGTERM into an event while training; outside the main thread signals stay as they are."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def request(number: int, frame: FrameType | None) -> None:
        event.set()

    previous = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def fit_statistics(system: FusionSystem, examples: TrainingExamples, chunk: int = 64) -> None:
    """Measure mean and deviation of the resampled training frames and keep them in the system's projector, if it has one."""
    projector = system.projector
    if projector is None:
        return
    tokens = []
    device = projector.mean_A.device
    for start in range(0, len(examples.clips), chunk):
        features = examples.frames(range(start, min(start + chunk, len(examples.clips)))).to(device)
        tokens.append(projector.resample(features.x_BTA, features.mask_BT).flatten(0, 1))
    everything_NA = torch.cat(tokens)
    projector.set_statistics(everything_NA.mean(dim=0), everything_NA.std(dim=0))
