"""Phase 0: what must hold before anything else is worth training. Each check has a bound, and each can fail.

1. With no audio bound, and with audio bound but every gate at 0, the backbone's answers are its own: logits bit for bit, greedy
   texts, on a fixed list of prompts. The reference is the model without any hook of ours.
2. A few training clips are learned by heart within a stated number of steps: the loss falls under a bound, and CIDEr-D of the
   captions that are then decoded from the audio rises above one. Each clip has one reference, so that this can be had in full.
3. Every gate and every other trainable weight received a gradient; the backbone's weights have the same hash as before.

A system that trains weights of the backbone answers as before only until it is trained and after it is detached; it is checked
there. A system that hears nothing cannot tell clips apart: it learns one clip by heart.

Shapes: S text positions, V vocabulary.
"""

from __future__ import annotations

import hashlib
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from fusion_core.backbone import Backbone
from fusion_core.context import FusionContext
from fusion_core.device import default_device
from fusion_core.files import cache_dir
from fusion_core.journal import Journal
from fusion_core.pretrained import TINY
from fusion_core.systems.base import FusionSystem
from fusion_eval.metrics.cider_d import CiderD
from fusion_eval.tokenize import tokenize_all
from torch import Tensor

from fusion_train.captioner import Captioner
from fusion_train.config import DecodingSettings, EvaluationSettings, RunSettings, ScheduleSettings
from fusion_train.datasets.registry import default_root, parse_options
from fusion_train.examples import CaptionedClip, TrainingExamples
from fusion_train.generate import generate
from fusion_train.judging import Validation
from fusion_train.learner import Learner
from fusion_train.loop import Trainer
from fusion_train.materials import Materials, gather_materials
from fusion_train.model import build_system
from fusion_train.objectives.xe import CrossEntropy
from fusion_train.reading import make_reader
from fusion_train.statistics import fit_statistics
from fusion_train.stopping import Diverged

PROMPTS = (
    "What is the capital of France?",
    "Describe the sound.",
    "Name three colours.",
    "Write one sentence about the sea.",
    "How many legs does a spider have?",
    "Translate 'good morning' into French.",
    "What do plants need to grow?",
    "Finish the sentence: the dog ran to the",
)
ANSWER_TOKENS = 16
LEAST_CLIPS = 6  # a smaller training split cannot hold the sounds of the test split
LAST_STEPS = 3  # whose mean loss is measured


@dataclass(frozen=True)
class SanityPlan:
    """How the small training is done, and what it must reach.

    Attributes:
        clips: training clips that are learned by heart.
        steps: optimiser steps, each over all of the clips.
        rate: factor of the profile's learning rates.
        words: how many words of a reference are learned; None for all.
        loss: the mean loss of the last steps must be below this, in nats a token.
        cider_d: CIDEr-D of the clips must be above this; 10 is perfect (5 with two words). One caption for all clips, which is
            all that a system can say that does not hear, reaches about a share of 1 / clips of that.
    """

    clips: int = 16
    steps: int = 30
    rate: float = 1.0
    words: int | None = None
    loss: float = 0.5
    cider_d: float = 5.0


# The random backbone of the tests cannot speak and never becomes sure of a byte: two words are what it can be taught.
TINY_PLAN = SanityPlan(clips=4, steps=300, rate=10.0, words=2, loss=2.5, cider_d=3.0)


@dataclass(frozen=True)
class Check:
    """One check: what was measured, what it must be, and whether it is."""

    name: str
    measured: str
    bound: str
    passed: bool


@dataclass(frozen=True)
class Answers:
    """What a backbone answers: logits_SV of each prompt, and the greedy texts."""

    logits: list[Tensor]
    texts: list[str]

    def compare(self, name: str, other: Answers) -> Check:
        """Check that another's answers are these, bit for bit."""
        alike = sum(torch.equal(mine, theirs) for mine, theirs in zip(self.logits, other.logits, strict=True))
        texts = sum(mine == theirs for mine, theirs in zip(self.texts, other.texts, strict=True))
        far = max(float((a.float() - b.float()).abs().max()) for a, b in zip(self.logits, other.logits, strict=True))
        count = len(self.texts)
        measured = f"logits {alike} of {count}, texts {texts} of {count}, largest difference {far:.2g}"
        return Check(name, measured, f"{count} of {count}, bit for bit", alike == texts == count)


@dataclass
class _Gradients:
    """The largest gradient that each trainable parameter received."""

    largest: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def watched(self, system: FusionSystem) -> Iterator[None]:
        handles = []
        for name, parameter in system.named_parameters():
            if parameter.requires_grad:
                self.largest[name] = 0.0
                register: Any = parameter.register_hook  # torch leaves it untyped
                handles.append(register(self._recorder(name)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _recorder(self, name: str) -> Callable[[Tensor], None]:
        def record(gradient: Tensor) -> None:
            self.largest[name] = max(self.largest[name], float(gradient.detach().abs().max()))

        return record

    def checks(self, system: FusionSystem) -> list[Check]:
        """Check that every gate and every other weight received something."""
        gates = {name: size for name, size in self.largest.items() if system.part_of(name) == "gates"}
        checks = []
        if gates:
            least = min(gates.values())
            checks.append(Check(f"gradient of each of {len(gates)} gates", f"at least {least:.2g}", "> 0", least > 0))
        without = [name for name, size in self.largest.items() if not size > 0]
        measured = f"{len(without)} of {len(self.largest)}" + (f", such as {without[0]}" if without else "")
        return [*checks, Check("trainable weights without a gradient", measured, "0", not without)]


def plan_for(settings: RunSettings) -> SanityPlan:
    """Return the plan that suits the backbone of the settings."""
    return TINY_PLAN if settings.backbone == TINY else SanityPlan()


def check_sanity(
    system: str, settings: RunSettings, plan: SanityPlan | None = None, announce: Callable[[str], None] = lambda _: None
) -> list[Check]:
    """Do all checks on a few scenes of their own, kept in the user's cache, and return them.

    Args:
        system: the system's name.
        settings: a profile; its dataset is made small.
        plan: the small training; by default the one that suits the backbone.
        announce: called with a sentence at the start of each stage.

    Raises:
        ConfigError: a setting is wrong.
        MissingAssetError: weights are missing.
    """
    plan = plan or plan_for(settings)
    settings = _small(settings, plan)
    root = cache_dir() / "sanity" / default_root("scenes", parse_options("scenes", settings.dataset)).name
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        materials = gather_materials("scenes", settings, root, announce, Journal(folder / "log.jsonl"))
        return _check(system, materials, settings, plan, folder, announce)


def _small(settings: RunSettings, plan: SanityPlan) -> RunSettings:
    """Return the settings of the small training."""
    counts = {"train": max(plan.clips, LEAST_CLIPS), "val": 1, "test": 2, "workers": 1}
    return settings.model_copy(
        update={
            "dataset": settings.dataset | counts,
            "batch": plan.clips,
            "accumulate": 1,
            "schedule": ScheduleSettings(steps=plan.steps, warmup=0.1),
            "evaluation": EvaluationSettings(every=plan.steps, patience=plan.steps),
            "checkpoint_every": plan.steps,
            # The penalty would give gates a gradient where nothing else does.
            "optimiser": settings.optimiser.model_copy(update={"gate_penalty": 0.0}),
        }
    )


def _check(
    name: str,
    materials: Materials,
    settings: RunSettings,
    plan: SanityPlan,
    folder: Path,
    announce: Callable[[str], None],
) -> list[Check]:
    backbone = materials.backbone
    before = weights_sha256(backbone)
    system = build_system(name, settings, backbone, materials.encoder.width)
    system.detach()
    announce(f"answers: {len(PROMPTS)} prompts")
    with _without_hooks(backbone):
        reference = answer(backbone, system.slots)
    system.attach(backbone)
    checks = [reference.compare("answers without audio, at the start", answer(backbone, system.slots))]
    announce(f"train: {plan.steps} steps on {plan.clips} clips")
    gradients = _Gradients()
    with gradients.watched(system):
        checks += _learn_by_heart(system, materials, settings, plan, folder)
    checks += gradients.checks(system)
    announce("answers: again")
    if not system.changes_backbone:
        checks.append(reference.compare("answers without audio, after training", answer(backbone, system.slots)))
        if system.gate_values():
            context = _closed(system, materials)
            closed = answer(backbone, system.slots, context)
            checks.append(reference.compare("answers with audio and every gate at 0", closed))
    system.detach()
    if system.changes_backbone:
        checks.append(reference.compare("answers of the backbone given back", answer(backbone, system.slots)))
    return [*checks, *_frozen(backbone, before)]


def _learn_by_heart(
    system: FusionSystem, materials: Materials, settings: RunSettings, plan: SanityPlan, folder: Path
) -> list[Check]:
    backbone = materials.backbone
    clips = _with_one_reference(materials.splits["train"].clips[: plan.clips], plan.words)
    metric = CiderD([tokenize_all(clip.references) for clip in clips])
    if system.projector is None:
        clips = [clips[0]] * len(clips)
    examples = TrainingExamples(clips, backbone, system.prompt(backbone), materials.cache.get, settings.seed)
    fit_statistics(system, examples)
    greedy = DecodingSettings(beams=1, max_new_tokens=max(len(captions[0]) for captions in examples.tokens))
    captioner = Captioner(backbone, system, examples.prompt)
    indices = list(range(len(clips))) if system.projector is not None else [0] * len(clips)

    def evaluate() -> float:
        found = captioner.caption_all([clip.sha256 for clip in clips], materials.cache.get, greedy)
        return float(metric.score(tokenize_all(one[0].text for one in found), indices).mean())

    accelerator = Accelerator(cpu=default_device().type == "cpu")
    reader = make_reader(backbone, system, examples.prompt, settings)
    learner = Learner(backbone, system, examples, reader, accelerator, settings.batch)
    trainer = Trainer(learner, [CrossEntropy(learner)], Validation(evaluate), settings, folder, rate=plan.rate)
    count = "1 clip" if system.projector is None else f"{len(clips)} clips"
    names = (f"loss after {plan.steps} steps on {count}", f"CIDEr-D of {count}")
    bounds = (f"< {plan.loss:g}", f"> {plan.cider_d:g}")
    try:
        score = trainer.train().best_score
    except Diverged as reason:
        return [Check(name, str(reason), bound, False) for name, bound in zip(names, bounds, strict=True)]
    losses = [event["loss"] for event in trainer.journal.read() if event["event"] == "step"]
    loss = statistics.fmean(losses[-LAST_STEPS:])
    return [
        Check(names[0], f"{loss:.3f}, from {losses[0]:.2f}", bounds[0], loss < plan.loss),
        Check(names[1], f"{score:.2f}", bounds[1], score > plan.cider_d),
    ]


def _with_one_reference(clips: Sequence[CaptionedClip], words: int | None) -> list[CaptionedClip]:
    """Return the clips with one reference each, cut to some words: the first that no clip before has."""
    found: list[CaptionedClip] = []
    for clip in clips:
        texts = [" ".join(reference.split()[:words]) for reference in clip.references]
        taken = {one.references[0] for one in found}
        text = next((text for text in texts if text not in taken), texts[0])
        found.append(CaptionedClip(clip.id, clip.sha256, (text,)))
    return found


@torch.no_grad()
def _closed(system: FusionSystem, materials: Materials) -> FusionContext:
    """Set every gate to exactly 0 and bind the first training clip."""
    system.eval()
    for gate in system.parts()["gates"]:
        gate.zero_()
    clip = materials.splits["train"].clips[0]
    frames_BTA = torch.from_numpy(materials.cache.get(clip.sha256).astype("float32"))[None]
    device = materials.backbone.device
    slots_BS = materials.backbone.prompt(PROMPTS[0], system.slots).slot_index()
    mask_BT = torch.ones(frames_BTA.shape[:2], dtype=torch.bool, device=device)
    return system.bind(frames_BTA.to(device), mask_BT, slots_BS)


@torch.inference_mode()
def answer(backbone: Backbone, slots: int = 0, fusion: FusionContext | None = None) -> Answers:
    """Return what the backbone answers to the fixed prompts, one at a time.

    Args:
        backbone: the model, with whatever is attached to it.
        slots: placeholder tokens of the prompts.
        fusion: what is bound to the calls; None for no audio.
    """
    backbone.model.eval()
    settings = DecodingSettings(beams=1, max_new_tokens=ANSWER_TOKENS)
    logits, texts = [], []
    for instruction in PROMPTS:
        ids_BS = torch.tensor([backbone.prompt(instruction, slots).ids], device=backbone.device)
        logits.append(backbone.logits(backbone.hidden(ids_BS, fusion=fusion))[0].clone())
        found = generate(backbone, ids_BS, settings, fusion)[0][0]
        texts.append(backbone.tokenizer.decode(list(found.ids)))
    return Answers(logits, texts)


@contextmanager
def _without_hooks(backbone: Backbone) -> Iterator[None]:
    """Take fusion's hooks off the decoder blocks and put them back."""
    kept = [block._forward_pre_hooks.copy() for block in backbone.blocks]
    for block in backbone.blocks:
        block._forward_pre_hooks.clear()
    try:
        yield
    finally:
        for block, hooks in zip(backbone.blocks, kept, strict=True):
            block._forward_pre_hooks.update(hooks)


def weights_sha256(backbone: Backbone) -> str:
    """Return the SHA-256 over names and bits of the weights as they are in memory."""
    digest = hashlib.sha256()
    for name, tensor in sorted(backbone.model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _frozen(backbone: Backbone, before: str) -> list[Check]:
    after = weights_sha256(backbone)
    touched = [name for name, one in backbone.model.named_parameters() if one.requires_grad or one.grad is not None]
    return [
        Check("hash of the backbone's weights", f"{before[:8]} before, {after[:8]} after", "the same", before == after),
        Check("backbone's weights with a gradient", str(len(touched)), "0", not touched),
    ]


def failed(checks: Sequence[Check]) -> list[Check]:
    """Return the checks that did not pass."""
    return [check for check in checks if not check.passed]
