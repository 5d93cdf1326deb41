"""A small study of synthetic systems: real files of every kind, scored by the real metrics, retention by the real statistics.

Its «systems» say references of a clip with errors at a rate of their own, so its numbers mean nothing outside these tests.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fusion_eval.reranking import rerank
from fusion_eval.retention import METHOD, compare_answers
from fusion_eval.schemas import Candidate, PredictionItem, Predictions, References, RunCard, SceneEvents
from fusion_eval.schemas.questions import Accuracy, ModalityCondition, ModalityScores, QuestionItem, Questions
from fusion_eval.schemas.rerank import RerankWeights, TunedWeights
from fusion_eval.schemas.retention import Answers, Outcome, Question, Retention
from fusion_eval.schemas.study import StudyCard
from fusion_eval.scoring import score
from fusion_report.groups import group_runs
from fusion_report.measuring import Measuring
from fusion_report.results import read_results
from fusion_report.study import Study

CREATED = datetime(2026, 1, 1, tzinfo=UTC)
CLASSES = ("dog", "rain", "siren", "bell", "train", "wind")
CLIPS = 36
SKILL = {"additive": 0.62, "cross-attention": 0.5, "concat": 0.6, "partial-unfreeze": 0.55, "data-only": 0.08}
SIZE = {"additive": 1.9e6, "cross-attention": 1.92e6, "concat": 1.88e6, "partial-unfreeze": 14.2e6, "data-only": 1.9e6}
METRICS = ("cider_d", "bleu", "rouge_l", "event_f1")
SEEDS = (0, 1, 2)


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


ANSWERED = {  # by condition, of how many of 4 questions of a kind about a clip the first ones are right
    "audio+video": {"sight": 3, "sound": 2},
    "audio": {"sight": 1, "sound": 2},
    "shuffled-video": {"sight": 1, "sound": 1},
    "none": {"sight": 1, "sound": 1},
}
QUESTIONS = Questions(
    dataset="av-scenes",
    split="test",
    items=tuple(
        QuestionItem(
            id=f"test-{place:05d}-{kind}-{number}",
            clip=f"test-{place:05d}",
            kind=kind,
            category=kind,
            text="What is it?",
            answer="a",
            options=("a", "b", "c", "d"),
        )
        for place in range(CLIPS)
        for kind in ("sight", "sound")
        for number in range(4)
    ),
)


def answer(right: dict[str, int], seed: int) -> Answers:
    """Return answers of which as many are right a clip and kind; of seed 1 one more in each third clip."""
    outcomes = {}
    for item in QUESTIONS.items:
        more = seed == 1 and int(item.clip[-2:]) % 3 == 0
        good = int(item.id[-1]) < right[item.kind] + more
        outcomes[item.id] = Outcome(
            text="a" if good else "b",
            exact=good,
            contains=good,
            likelihood=good,
            likelihood_normalised=good,
            answer_logprob=-1.0,
        )
    return Answers(logits_sha256=sha(f"{right} {seed}"), outcomes=outcomes)


def accuracy(items: Sequence[QuestionItem], answers: Answers) -> Accuracy:
    correct = sum(bool(answers.outcomes[item.id].likelihood) for item in items)
    share = correct / len(items)
    return Accuracy(n=len(items), correct=correct, accuracy=share, accuracy_normalised=share, chance=0.25)


@dataclass(frozen=True)
class Planned:
    """A run that the study has."""

    system: str
    seed: int
    stage: str = "xe"
    variant: str = ""
    experiment: tuple[str, ...] = ("A2",)
    sites: tuple[int, ...] = (12, 24)
    tokens: int = 16
    width: int = 768
    dataset: str = "scenes"
    skill: float = 0.0
    measures: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        parts = [self.system, *self.variant.split(), f"s{self.seed}"]
        return "-".join(parts) + ("+scst" if self.stage == "scst" else "") + ("+video" if self.stage == "video" else "")

    @property
    def parent(self) -> str | None:
        return f"{self.system}-s{self.seed}" if self.stage in ("scst", "video") else None


def planned(seeds: tuple[int, ...]) -> Iterator[Planned]:
    for seed in seeds:
        for system, skill in SKILL.items():
            shared = ("A2", "B1", "B2", "B3", "C1", "D1", "D2") if system == "additive" else ("A2", "C1")
            yield Planned(system, seed, experiment=shared, skill=skill, measures=("retention", "rerank"))
        yield Planned(
            "additive", seed, stage="scst", experiment=("A2", "C1"), skill=0.7, measures=("retention", "rerank")
        )
        for sites, skill in (((12,), 0.57), ((24,), 0.4)):
            text = f"sites {sites[0]}"
            yield Planned("additive", seed, variant=text, experiment=("B1",), sites=sites, skill=skill)
        for tokens, width, skill in ((8, 768, 0.58), (16, 512, 0.6), (8, 512, 0.55)):
            text = " ".join(
                [*([f"tokens {tokens}"] if tokens == 8 else []), *([f"width {width}"] if width == 512 else [])]
            )
            yield Planned("additive", seed, variant=text, experiment=("B2",), tokens=tokens, width=width, skill=skill)
        for system in ("additive", "cross-attention"):
            yield Planned(system, seed, variant="contrastive 0.1", experiment=("B3",), skill=SKILL[system] + 0.01)
    for seed in seeds[:2]:
        yield Planned(
            "additive", seed, stage="video", experiment=("C2",), dataset="av-scenes", skill=0.6, measures=("retention",)
        )


@dataclass
class World:
    """The clips of one dataset, with what truly sounds in them."""

    dataset: str
    references: References = field(init=False)
    events: SceneEvents = field(init=False)

    def __post_init__(self) -> None:
        draw = random.Random(sha(self.dataset))
        items, references = [], {}
        for place in range(CLIPS):
            first, second = draw.sample(CLASSES, 2)
            name = f"test-{place:05d}"
            items.append(
                {
                    "id": name,
                    "events": [
                        {"sound_class": first, "onset": 0.0, "offset": 2.0, "role": "foreground"},
                        {"sound_class": second, "onset": 3.0, "offset": 5.0, "role": "foreground"},
                    ],
                    "order": [[0, 1]],
                    "combination": "seen" if place % 2 else "held_out",
                }
            )
            references[name] = [
                f"a {first} is heard and then a {second} follows",
                f"the sound of a {first}, after it a {second}",
                f"first a {first} and later a {second}",
            ]
        self.references = References.from_captions(references, self.dataset)
        self.events = SceneEvents.model_validate(
            {
                "dataset": self.dataset,
                "split": "test",
                "lexicon": {name: [name] for name in CLASSES},
                "items": items,
            }
        )

    def say(self, system: str, skill: float, seed: int) -> Predictions:
        """Return captions of which a share is about the right sounds, with three candidates each."""
        draw = random.Random(sha(f"{self.dataset} {system} {seed}"))
        level = skill + draw.uniform(-0.03, 0.03)
        items = []
        for item, scene in zip(self.references.items, self.events.items, strict=True):
            true = [event.sound_class for event in scene.events]
            texts = []
            for _ in range(3):
                heard = [name if draw.random() < level else draw.choice(CLASSES) for name in true]
                form = draw.choice(("a {} is heard and then a {} follows", "the sound of a {}, after it a {}"))
                texts.append(form.format(*heard))
            items.append(
                PredictionItem(
                    id=item.id,
                    caption=texts[0],
                    candidates=tuple(Candidate(text=text, logprob=-5.0 - n) for n, text in enumerate(texts)),
                )
            )
        return Predictions(dataset=self.dataset, split="test", system=system, items=tuple(items))


class StudyWriter:
    """Writes the files of a study as ``fusion study run`` leaves them."""

    def __init__(self, root: Path, seeds: tuple[int, ...] = SEEDS) -> None:
        self.root, self.seeds = root, seeds
        self.worlds = {name: World(name) for name in ("scenes", "av-scenes")}
        self.runs = list(planned(seeds))

    def write(self) -> Path:
        for run in self.runs:
            self._run(run)
        for world in self.worlds.values():
            world.references.write(self.root / "references" / f"{world.references.sha256()}.json")
            world.events.write(self.root / "events" / f"{world.events.sha256()}.json")
        QUESTIONS.write(self.root / "questions" / f"{QUESTIONS.sha256()}.json")
        entries = [self._entry(run) for run in self.runs]
        missing = {
            "name": f"hybrid-s{self.seeds[0]}",
            "experiment": ["A2"],
            "phase": 1,
            "stage": "xe",
            "system": "hybrid",
            "dataset": "scenes",
            "seed": self.seeds[0],
            "identity": sha("hybrid"),
            "status": "failed",
            "reason": "The process was killed: out of memory.",
            "log": "runs/hybrid-s0/log.jsonl",
        }
        decision = {
            "rule": "additive-behind-cross-attention",
            "triggered": False,
            "numbers": {"difference": 0.21},
            "outcome": "Additive is ahead, so no hybrid is added.",
        }
        card = {
            "name": self.root.name,
            "tier": "tiny",
            "config_sha256": sha("study"),
            "seeds": list(self.seeds),
            "runs": [*entries, missing],
            "decisions": [decision],
        }
        StudyCard.model_validate(card).write(self.root / "study_card.json")
        return self.root

    def _entry(self, run: Planned) -> dict[str, Any]:
        return {
            "name": run.name,
            "experiment": list(run.experiment),
            "phase": 1,
            "stage": run.stage,
            "system": run.system,
            "dataset": run.dataset,
            "seed": run.seed,
            "variant": run.variant,
            "parent": run.parent,
            "identity": sha(run.name),
            "status": "done",
            "run_card_sha256": sha(run.name),
            "measures": {name: {"status": "done", "identity": sha(run.name + name)} for name in run.measures},
        }

    def _run(self, run: Planned) -> None:
        folder = self.root / "runs" / run.name
        world = self.worlds[run.dataset]
        skills = {"audio": run.skill, "shuffled": 0.05, "none": 0.0, "class_prior": 0.1, "nearest_neighbour": 0.5}
        if run.stage == "video":
            skills = {
                "audio+video": 0.75,
                "video": 0.5,
                "audio": 0.55,
                "none": 0.05,
                "shuffled-video": 0.4,
            }
        for condition, skill in skills.items():
            if condition in ("class_prior", "nearest_neighbour", "none") and run.system != "additive":
                continue
            said = world.say(f"{run.system}{run.variant}{run.stage}{condition}", skill, run.seed)
            self._score(folder, condition, world, said)
        if run.stage == "video":
            self._watch(folder, run)
        if "rerank" in run.measures:
            self._rerank(folder, world)
        if "retention" in run.measures:
            self._retention(folder, run)
        self._card(folder, run)
        self._log(folder, run)
        held = [item.id for item in world.events.items if item.combination == "held_out"]
        seen = [item.id for item in world.events.items if item.combination == "seen"]
        (folder / "subsets.json").write_text(json.dumps({"seen": seen, "held_out": held}))

    def _score(self, folder: Path, condition: str, world: World, said: Predictions, *more: str) -> None:
        said.write(folder / "predictions" / f"{condition}.json")
        scores = score(said, world.references, (*METRICS, *more), world.events)
        scores.write(folder / "scores" / f"{condition}.json")

    def _watch(self, folder: Path, run: Planned) -> None:
        """Write the answers to questions about the clips, and the captions by audio alone of those of the run before."""
        sounds = self.worlds["scenes"]
        self._score(folder, "kept-audio", sounds, sounds.say("kept", 0.6, run.seed))
        conditions = {}
        for name, right in ANSWERED.items():
            answers = answer(right, run.seed)
            answers.write(folder / "answers" / f"{name}.json")
            conditions[name] = ModalityCondition(
                bound=() if name == "none" else ("audio", "video"),
                questions=accuracy(QUESTIONS.items, answers),
                by_kind={
                    kind: accuracy([item for item in QUESTIONS.items if item.kind == kind], answers) for kind in right
                },
            )
        ModalityScores(
            run_id=run.name,
            dataset="av-scenes",
            split="test",
            clips=CLIPS,
            references_sha256=self.worlds["av-scenes"].references.sha256(),
            questions_sha256=QUESTIONS.sha256(),
            scoring="the option with the largest sum of log-probabilities of its tokens",
            conditions=conditions,
        ).write(folder / "modalities.json")

    def _rerank(self, folder: Path, world: World) -> None:
        said = Predictions.read(folder / "predictions" / "audio.json")
        weights = RerankWeights(logprob=0.5, consensus=1)
        self._score(folder, "reranked", world, rerank(said, weights))
        score(said, world.references, ("cider_d_max",)).write(folder / "scores" / "oracle.json")
        TunedWeights(
            weights=weights,
            dataset=world.dataset,
            split="val",
            predictions_sha256=sha("val"),
            references_sha256=sha("val"),
            n=12,
            metric="cider_d",
            before=0.5,
            after=0.6,
            cross_validated=0.55,
            oracle=0.9,
            definition={},
        ).write(folder / "rerank_weights.json")

    def _retention(self, folder: Path, run: Planned) -> None:
        draw = random.Random(sha(f"retention {run.name}"))
        names = [f"q{n:03d}" for n in range(200)]
        questions = {
            name: Question(category=("count", "colour")[n % 2], cluster=f"image-{n // 2}", answer="red")
            for n, name in enumerate(names)
        }
        right = {name: draw.random() < 0.8 for name in names}
        flips = {"partial-unfreeze": 0.12}.get(run.system, 0.002)

        def answers(share: float, tag: str) -> Answers:
            outcomes = {}
            for name in names:
                good = right[name] != (draw.random() < share)
                outcomes[name] = Outcome(
                    text="red" if good else "blue",
                    exact=good,
                    contains=good,
                    likelihood=good,
                    likelihood_normalised=good,
                    answer_logprob=-0.5 if good else -2.0,
                )
            return Answers(logits_sha256=sha(tag), outcomes=outcomes)

        before = answers(0.0, "before")
        none = answers(0.0, "before") if run.system != "partial-unfreeze" else answers(0.12, f"none {run.name}")
        Retention(
            run_id=run.name,
            system=run.system,
            adapter_sha256=sha(run.name),
            backbone={"name": "tiny-vlm", "weights_sha256": sha("vlm"), "precision": "float32"},
            probe="visual-questions",
            probe_sha256=sha("probe"),
            scoring="likelihood",
            margin=-0.005,
            conditions={
                condition: compare_answers(questions, before, after, "likelihood")
                for condition, after in (
                    ("none", none),
                    ("distractor", answers(flips, f"distractor {run.name}")),
                    ("earlier_distractor", answers(flips, f"earlier {run.name}")),
                )
                if condition != "earlier_distractor" or run.stage == "video"
            },
            distractors="scenes test",
            method=METHOD,
        ).write(folder / "retention.json")

    def _card(self, folder: Path, run: Planned) -> None:
        gates = {site: round(0.3 + 0.01 * site + 0.02 * run.seed, 4) for site in run.sites}
        if run.system == "cross-attention":
            gates = {site: round(0.1 + 0.01 * site, 4) for site in range(30)}
        size = int(SIZE[run.system] * (0.5 + run.tokens / 32) * (0.5 + run.width / 1536))
        card = {
            "run_id": run.name,
            "created": CREATED,
            "command": ["fusion", "train", run.dataset, "--system", run.system, "--seed", str(run.seed)],
            "seed": run.seed,
            "dataset": {
                "name": run.dataset,
                "references_sha256": {"test": self.worlds[run.dataset].references.sha256()},
                "counts_by_status": {"ok": 100, "missing": 2},
            },
            "encoder": {"name": "aisfx", "weights_sha256": sha("aisfx"), "preprocessing_sha256": sha("mel")},
            "backbone": {"name": "smollm2", "weights_sha256": sha("smollm2"), "prompt": "Describe the sound."},
            "system": {
                "name": run.system,
                "config": {"backbone_depth": 30, "backbone_width": 576, "encoder_width": 512, "adapter": "modulated"},
                "sites": list(run.sites),
                "tokens": run.tokens,
                "projector_width": run.width,
                "gate_init": 0.05,
                "final_gates": None if run.system == "data-only" else gates,
            },
            "training": {
                "loss_weights": {"scst" if run.stage == "scst" else "xe": 1.0, "gate_penalty": 1e-4},
                "optimiser": {"name": "AdamW", "settings": {"adapter_lr": 1e-4}},
                "schedule": {"name": "cosine", "settings": {"steps": 120}},
                "batch_size": 16,
                "accumulation": 1,
                "precision": "bfloat16",
                "steps": 120,
                "best_step": 90,
                "selection_metric": "cider_d of val, greedy",
            },
            "decoding": {"beams": 3, "max_new_tokens": 24, "length_penalty": 1.0, "candidates": 3},
            "parameters": {
                "parts": {"adapters": size - 100, "gates": 100},
                "total": size,
                "ratio_to_reference": size / SIZE["additive"],
            },
            "cost": {
                "hours": 0.05 + 0.001 * run.seed + (0.1 if run.system == "cross-attention" else 0.0),
                "throughput": [{"stage": "train", "clips_per_second": 12.0 + run.seed, "batch_size": 16}],
            },
            "hardware": {"device": "cpu", "processor": "x86_64", "cores": 2},
            "packages": {"python": "3.11", "torch": "2.11.0"},
            "adapter_sha256": sha(run.name),
        }
        RunCard.model_validate(card).write(folder / "run_card.json")
        settings = {"system": run.system, "dataset": run.dataset, "settings": {"seed": run.seed}}
        (folder / "settings.json").write_text(json.dumps(settings))

    def _log(self, folder: Path, run: Planned) -> None:
        draw = random.Random(sha(f"log {run.name}"))
        begin, speed = 1_700_000_000.0, 3.0 if run.system == "cross-attention" else 1.0
        events: list[dict[str, Any]] = []
        frontier: list[dict[str, Any]] = []
        for step in range(1, 121):
            done = step / 120
            gates = {str(site): 0.05 + (0.3 + 0.01 * site) * done for site in run.sites}
            loss = 3.0 - 1.2 * done + draw.uniform(-0.1, 0.1)
            events.append(
                {"time": begin + speed * step, "event": "step", "step": step, "loss": loss}
                | ({} if run.system == "data-only" else {"gates": gates})
            )
            if step % 30 == 0:
                value = run.skill * (0.4 + 0.6 * done) + draw.uniform(-0.02, 0.02)
                events.append(
                    {"time": begin + speed * step + 0.5, "event": "evaluated", "step": step, "cider_d": value}
                )
                frontier.append(
                    {
                        "time": begin,
                        "event": "evaluated",
                        "step": step,
                        "score": value,
                        "before": {"likelihood": 0.8, "answer_logprob": -0.5},
                        "distractor": {"likelihood": 0.8 - draw.uniform(0, 0.01), "answer_logprob": -0.5},
                    }
                )
        (folder / "log.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
        if run.system != "data-only":
            (folder / "stability.jsonl").write_text("".join(json.dumps(row) + "\n" for row in frontier))


@pytest.fixture(scope="session")
def whole_results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a small study, to be read only."""
    return StudyWriter(tmp_path_factory.mktemp("results") / "small").write()


@pytest.fixture(scope="session")
def report_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where resampled numbers are kept between tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def measuring(report_cache: Path) -> Measuring:
    """Few resamples, so that tests are fast."""
    return Measuring(resamples=400, cache=report_cache)


@pytest.fixture(scope="session")
def study(whole_results: Path, measuring: Measuring) -> Study:
    """The small study."""
    return open_small(whole_results, measuring)


@pytest.fixture
def own_results(whole_results: Path, tmp_path: Path) -> Path:
    """A copy of the results that a test may damage."""
    return Path(shutil.copytree(whole_results, tmp_path / "small"))


@pytest.fixture
def open_study_at(measuring: Measuring) -> Callable[[Path], Study]:
    """Opens a results folder."""
    return lambda folder: open_small(folder, measuring)


def open_small(folder: Path, measuring: Measuring) -> Study:
    results = read_results(folder)
    return Study(results, group_runs(results), measuring)
