"""A study and its dataset, small, written from real schema objects and scored by the real metrics."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from fusion_eval.files import sha256_file
from fusion_eval.schemas import (
    Candidate,
    ManifestRow,
    PredictionItem,
    Predictions,
    ReferenceItem,
    References,
    RunCard,
    SceneEvents,
    write_manifest,
)
from fusion_eval.schemas.questions import ModalityScores, Questions
from fusion_eval.schemas.retention import Answers
from fusion_eval.schemas.study import StudyCard, StudyRun
from fusion_eval.scoring import score
from fusion_report.measuring import Measuring
from fusion_report.page import write_page

HASH = "0" * 64
HOSTILE = "<script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\"> a dog barks"
RIGHT_TO_LEFT = "\u202eينبح كلب ثم يهطل المطر 🐕🌧️ and \u0001 a bell"
LONG = "rain " * 1000
SOUNDS = {
    "dog barking": ("a dog barks", "dog barking"),
    "rain": ("rain falls", "rain pouring"),
    "church bell": ("a church bell rings", "bell ringing"),
}
SECONDS = 2.0
CLIPS = 8
BROKEN = {5: "corrupt", 6: "missing"}


@dataclass
class StudyFiles:
    """Where a study and its dataset lie."""

    results: Path
    dataset: Path
    references: References
    events: SceneEvents

    def run(self, name: str) -> Path:
        return self.results / "runs" / name


def clip_id(number: int) -> str:
    return f"test-{number:05d}"


def write_sound(path: Path, number: int) -> None:
    """Write noise that swells over a tone, of another pitch for each clip."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time_S = np.arange(int(SECONDS * 22050)) / 22050
    noise_S = np.random.default_rng(number).normal(size=len(time_S)) * 0.1 * time_S / SECONDS
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * (300 + 150 * number) * time_S) + noise_S, 22050)


def write_dataset(root: Path, clips: int = CLIPS) -> tuple[References, SceneEvents]:
    """Write a prepared folder of composed scenes; one clip is no sound file and one is absent."""
    rows, items, graphs = [], [], []
    for number in range(clips):
        first, second = (list(SOUNDS)[(number + shift) % len(SOUNDS)] for shift in (0, 1))
        path = root / "audio" / "test" / f"{clip_id(number)}.flac"
        status = BROKEN.get(number, "ok")
        if status == "ok":
            write_sound(path, number)
        elif status == "corrupt":
            path.write_bytes(b"no sound at all")
        rows.append(
            ManifestRow(
                id=clip_id(number),
                path=f"audio/test/{path.name}",
                split="test",
                seconds=SECONDS if status == "ok" else None,
                sample_rate=22050 if status == "ok" else None,
                sha256=sha256_file(path) if status == "ok" else None,
                status=status,
                reason=None if status == "ok" else "cut off",
            )
        )
        texts = [f"{SOUNDS[first][at % 2]} and then {SOUNDS[second][at % 2]}" for at in range(3)]
        items.append(ReferenceItem(id=clip_id(number), references=tuple(texts)))
        graphs.append(
            {
                "id": clip_id(number),
                "combination": "seen" if number % 2 else "held_out",
                "events": [
                    {"sound_class": first, "onset": 0.1, "offset": 0.9, "count": 2, "role": "foreground"},
                    {"sound_class": second, "onset": 1.0, "offset": 1.9, "role": "background"},
                ],
                "order": [[0, 1]],
            }
        )
    write_manifest(root / "manifest.parquet", rows)
    (root / "dataset.json").write_text(json.dumps({"name": "scenes"}))
    references = References(dataset="scenes", split="test", items=tuple(items))
    references.write(root / "references" / "test.json")
    events = SceneEvents.model_validate({"dataset": "scenes", "split": "test", "lexicon": SOUNDS, "items": graphs})
    events.write(root / "events" / "test.json")
    return references, events


def write_captions(folder: Path, condition: str, files: StudyFiles, system: str, skill: float, seed: int) -> None:
    """Write what a system of some skill says, and how that scores: skilled captions are references of the clip."""
    generator = np.random.default_rng([seed, len(condition), int(100 * skill)])
    items = []
    for place, item in enumerate(files.references.items):
        right = generator.random() < skill
        other = files.references.items[(place + 1 + int(generator.integers(4))) % len(files.references.items)]
        texts = (item if right else other).references[:3]
        candidates = tuple(
            Candidate(text=text, logprob=-3.0 - at - float(generator.random()), similarity=0.4 - 0.1 * at)
            for at, text in enumerate(texts)
        )
        items.append(PredictionItem(id=item.id, caption=texts[0], candidates=candidates))
    predictions = Predictions(
        dataset="scenes",
        split=files.references.split,
        system=system,
        references_sha256=files.references.sha256(),
        items=tuple(items),
    )
    predictions.write(folder / "predictions" / f"{condition}.json")
    write_scores(folder, condition, files, predictions)


def write_scores(folder: Path, condition: str, files: StudyFiles, predictions: Predictions) -> None:
    found = score(predictions, files.references, ["cider_d", "event_f1"], files.events)
    found.model_copy(
        update={"unavailable": {"spice": "stanford-corenlp is absent; fusion eval setup provides it"}}
    ).write(folder / "scores" / f"{condition}.json")


def write_card(folder: Path, system: str, seed: int, parameters: int, scst: bool) -> RunCard:
    sites = (12, 24) if system != "cross-attention" else tuple(range(30))
    card = RunCard.model_validate(
        {
            "run_id": folder.name,
            "created": datetime(2026, 1, 1, tzinfo=UTC),
            "command": ["fusion", "train"],
            "seed": seed,
            "dataset": {"name": "scenes", "references_sha256": {}, "counts_by_status": {}},
            "backbone": {"name": "b", "weights_sha256": HASH, "prompt": ""},
            "system": {
                "name": system,
                "config": {"sites": list(sites)},
                "final_gates": {site: 0.1 + 0.01 * site + 0.02 * seed for site in sites},
            },
            "training": {
                "loss_weights": {"xe": 1.0},
                "optimiser": {"name": "AdamW", "settings": {}},
                "schedule": {"name": "cosine", "settings": {}},
                "batch_size": 16,
                "accumulation": 1,
                "precision": "fp32",
                "steps": 120,
                **({"scst": {"samples": 5}} if scst else {}),
            },
            "decoding": {"beams": 5, "max_new_tokens": 20, "length_penalty": 1.0},
            "parameters": {"parts": {"adapters": parameters}, "total": parameters},
            "cost": {"hours": 0.06},
            "hardware": {"device": "cpu"},
            "packages": {},
            "adapter_sha256": HASH,
        }
    )
    card.write(folder / "run_card.json")
    return card


def write_log(folder: Path, seed: int) -> None:
    events: list[dict[str, Any]] = [
        {"event": "step", "step": step, "loss": 5 / step + seed / 10, "gates": {"12": 0.3, "24": 0.2 + step / 100}}
        for step in range(1, 41)
    ]
    events += [{"event": "evaluated", "step": step, "cider_d": 0.01 * step + 0.02 * seed} for step in (20, 40)]
    (folder / "log.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    shares = {"before": {"contains": 0.8}, "distractor": {"contains": 0.75}}
    rows = [{"event": "evaluated", "step": step, "score": step / 100, **shares} for step in (20, 40)]
    (folder / "stability.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def planned(name: str, system: str, seed: int, **more: Any) -> StudyRun:
    content = {"experiment": ["A2"], "phase": 1, "stage": "xe", "dataset": "scenes", "identity": HASH, "status": "done"}
    return StudyRun.model_validate({**content, "name": name, "system": system, "seed": seed, **more})


def write_run(files: StudyFiles, run: StudyRun, skill: float, parameters: int = 1_900_000) -> None:
    folder = files.run(run.name)
    folder.mkdir(parents=True)
    write_card(folder, run.system, run.seed, parameters, run.stage == "scst")
    write_log(folder, run.seed + len(run.system) % 7)
    write_captions(folder, "audio", files, run.system, skill, run.seed)
    write_captions(folder, "shuffled", files, run.system, 0.1, run.seed)
    kinds = {
        name: [item.id for item in files.events.items if item.combination == name] for name in ("seen", "held_out")
    }
    (folder / "subsets.json").write_text(json.dumps(kinds))


def write_study(files: StudyFiles) -> None:
    """Write a study in which one run failed, one is missing, one has a score that is no number, and one has one seed."""
    finished = [planned(f"additive-s{seed}", "additive", seed) for seed in range(3)]
    finished += [planned(f"cross-attention-s{seed}", "cross-attention", seed) for seed in range(2)]
    finished += [planned("additive-s0+scst", "additive", 0, stage="scst", parent="additive-s0")]
    finished += [planned("concat-s0", "concat", 0)]
    for run in finished:
        write_run(files, run, {"additive": 0.8, "cross-attention": 0.5}.get(run.system, 0.6))
    write_captions(files.run("additive-s0"), "reranked", files, "additive", 0.95, 0)
    spoiled = files.run("concat-s0") / "scores" / "audio.json"
    content = json.loads(spoiled.read_text())
    content["metrics"]["cider_d"] = float("nan")
    spoiled.write_text(json.dumps(content))
    failed = planned("concat-s1", "concat", 1, status="failed", reason="The loss was no number at step 7.")
    missing = planned("hybrid-s0", "hybrid", 0, status="missing", reason="It has not been run.")
    StudyCard.model_validate(
        {
            "name": "a small study",
            "tier": "embedded",
            "config_sha256": HASH,
            "seeds": [0, 1, 2],
            "runs": [*finished, failed, missing],
            "decisions": [
                {
                    "rule": "additive-behind-cross-attention",
                    "triggered": False,
                    "numbers": {"difference": 0.12},
                    "outcome": "Additive is ahead; no hybrid is added.",
                }
            ],
        }
    ).write(files.results / "study_card.json")


@pytest.fixture
def make_study(tmp_path: Path) -> Callable[[], StudyFiles]:
    """Write a study anew, to be spoiled by a test."""

    def make() -> StudyFiles:
        references, events = write_dataset(tmp_path / "data" / "scenes")
        files = StudyFiles(tmp_path / "results", tmp_path / "data" / "scenes", references, events)
        write_study(files)
        return files

    return make


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyFiles:
    """A study that no test changes."""
    root = tmp_path_factory.mktemp("study")
    references, events = write_dataset(root / "data" / "scenes")
    files = StudyFiles(root / "results", root / "data" / "scenes", references, events)
    write_study(files)
    return files


@pytest.fixture
def set_captions() -> Callable[[StudyFiles, str, dict[int, str]], None]:
    """Put texts into the captions of a run, and score them."""

    def put(files: StudyFiles, run: str, texts: dict[int, str]) -> None:
        path = files.run(run) / "predictions" / "audio.json"
        made = Predictions.read(path)
        items = tuple(
            item.model_copy(
                update={
                    "caption": texts[place],
                    "candidates": (Candidate(text=texts[place], logprob=-1.0), *(item.candidates or ())),
                }
            )
            if place in texts
            else item
            for place, item in enumerate(made.items)
        )
        changed = made.model_copy(update={"items": items})
        changed.write(path)
        write_scores(files.run(run), "audio", files, changed)

    return put


@pytest.fixture(scope="session")
def measuring(tmp_path_factory: pytest.TempPathFactory) -> Measuring:
    """What resamples, with a cache of the tests' own."""
    return Measuring(cache=tmp_path_factory.mktemp("resampled"))


@pytest.fixture(scope="session")
def page(study: StudyFiles, measuring: Measuring) -> Path:
    """The page of the study, with its sounds."""
    out = study.results.parent / "report" / "index.html"
    write_page(study.results, out, [study.dataset], measuring=measuring)
    return out


@pytest.fixture(scope="session")
def put_questions() -> Callable[[StudyFiles, str], Questions]:
    """Ask two questions about the first clip; a run answers the first rightly and the second wrongly."""

    def put(files: StudyFiles, run: str) -> Questions:
        clip = files.references.items[0].id
        facts = {"clip": clip, "kind": "sight", "category": "colour", "answer": "red", "options": ("red", "blue")}
        items = [{"id": f"q{number}", "text": f"Which colour is it? <i>{number}</i>", **facts} for number in range(2)]
        questions = Questions.model_validate({"dataset": "scenes", "split": "test", "items": items})
        questions.write(files.results / "questions" / f"{questions.sha256()}.json")
        accuracy = {"n": 2, "correct": 1, "accuracy": 0.5, "accuracy_normalised": 0.5, "chance": 0.5}
        ModalityScores.model_validate(
            {
                "run_id": run,
                "dataset": "scenes",
                "split": "test",
                "clips": 1,
                "references_sha256": files.references.sha256(),
                "questions_sha256": questions.sha256(),
                "scoring": "likelihood",
                "conditions": {"audio": {"bound": ["audio"], "questions": accuracy}},
            }
        ).write(files.run(run) / "modalities.json")
        common = {"text": "red", "exact": True, "contains": True, "answer_logprob": -1.0}
        outcomes = {f"q{number}": {**common, "likelihood": number == 0} for number in range(2)}
        answers = Answers.model_validate({"logits_sha256": HASH, "outcomes": outcomes})
        answers.write(files.run(run) / "answers" / "audio.json")
        return questions

    return put
