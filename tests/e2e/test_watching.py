"""Watching by the same recipe: from an audio run to one of sight and sound, through the command line, tiny."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from fusion_cli.main import app
from fusion_core.systems.base import load_system
from fusion_eval.schemas.retention import Retention
from fusion_train.retention_runs import SoundLibrary, read_run
from fusion_train.retention_sounds import WholeClips
from safetensors.torch import load_file
from typer.testing import CliRunner

pytest.importorskip("decord")
pytest.importorskip("av")

TINY = ["--system", "additive", "--profile", "tiny"]
FEW = ["--set", "dataset.train=12", "--set", "dataset.val=3", "--set", "dataset.test=4"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("FUSION_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> str:
    found = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.output


def events(folder: Path, kind: str) -> list[dict]:
    lines = (json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines())
    return [line for line in lines if line["event"] == kind]


def asked_while_training(folder: Path) -> None:
    """What the best weights were asked while they trained is what they answer afterwards, with all modalities bound."""
    rows = [json.loads(line) for line in (folder / "stability.jsonl").read_text().splitlines()]
    run("eval", "retention", "--ckpt", str(folder), "--items", "4", "--condition", "distractor")
    (found,) = Retention.read(folder / "retention.json").conditions.values()
    best_step = events(folder, "evaluated")[-1]["best_step"]
    (best,) = [row for row in rows if row["step"] == best_step]
    after = sum(outcome.answer_logprob for outcome in found.after.values()) / len(found.after)
    assert best["distractor"]["answer_logprob"] == pytest.approx(after)


def questions_are_answered_as_before(place: Path) -> None:
    """With audio frozen, what the audio run hears moves the same bits; a clip that is seen too moves others."""
    run(
        "eval",
        "retention",
        *(part for name in ("audio", "frozen", "free") for part in ("--ckpt", name)),
        "--items",
        "8",
    )
    audio, frozen, free = (Retention.read(place / name / "retention.json") for name in ("audio", "frozen", "free"))
    assert "earlier_distractor" not in audio.conditions
    hashes = {
        (name, condition): one.logits_sha256_after
        for name, found in (("audio", audio), ("frozen", frozen), ("free", free))
        for condition, one in found.conditions.items()
    }
    assert hashes["frozen", "earlier_distractor"] == hashes["audio", "distractor"]
    assert hashes["frozen", "silence"] == hashes["audio", "silence"] != hashes["free", "silence"]
    assert hashes["free", "earlier_distractor"] != hashes["audio", "distractor"]
    assert frozen.distractors == "4 test clips of av-scenes (audio, video); 4 test clips of scenes (audio)"
    assert hashes["frozen", "distractor"] not in (hashes["audio", "distractor"], hashes["frozen", "none"])
    bound = SoundLibrary().sounds(read_run(Path("frozen")), distracted=True)
    assert isinstance(bound.distractors, WholeClips)
    assert set(bound.distractors.lookup.gather(bound.distractors.hashes).sequences) == {"audio", "video"}


@pytest.mark.slow
def test_from_an_audio_run_with_its_gates_frozen_or_not(place):
    run("train", "scenes", *TINY, *FEW, "--out", "audio")
    first = load_system(place / "audio" / "adapter").state_dict()
    for name, freeze in (("frozen", ["--freeze", "audio"]), ("free", [])):
        asked = ["--set", "evaluation.retention.items=4"]
        joint = ["av-scenes", *TINY, *FEW, "--modalities", "video,audio", "--init", "audio", *asked, *freeze]
        table = run("train", *joint, "--out", name)
        assert "shuffled-video" in table
        weights = load_file(place / name / "adapter" / "adapter.safetensors")
        kept = [torch.equal(weights[f"members.audio.{key}"], value) for key, value in first.items()]
        assert all(kept) is (name == "frozen")
        (start,) = events(place / name, "initialised")
        assert (start["modalities"], start["frozen"]) == (["audio"], ["audio"] if freeze else [])
        card = json.loads((place / name / "run_card.json").read_text())
        assert card["modalities"]["audio"]["trained"] is (name == "free")
        assert card["modalities"]["video"]["encoder"]["name"] == "patches"
        assert card["init_sha256"]
        asked_while_training(place / name)
    before = json.loads((place / "audio" / "predictions" / "audio.json").read_text())["items"]
    after = json.loads((place / "frozen" / "predictions" / "kept-audio.json").read_text())["items"]
    assert after == before, "with frozen audio the first run's captions are what they were"
    questions_are_answered_as_before(place)
    clip = next((place / "data").glob("av-scenes*/video/test/*.mp4"))
    (said,) = json.loads(run("caption", str(clip), "--ckpt", "free", "--json"))
    assert said["file"] == str(clip)
    assert said["candidates"]


@pytest.mark.slow
def test_taken_up_again_it_ends_in_the_same_weights(place):
    options = ["train", "av-scenes", *TINY, *FEW, "--modalities", "video,audio"]
    run(*options, "--out", "whole")
    run(*options, "--out", "parts")
    # Back to the second step, as a kill would have left it.
    checkpoints = sorted((place / "parts" / "checkpoints").iterdir())
    assert len(checkpoints) == 2
    for file in ("run_card.json", "modalities.json"):
        (place / "parts" / file).unlink()
    shutil.rmtree(checkpoints[-1])
    run(*options, "--out", "parts", "--resume")
    whole, parts = (load_file(place / name / "adapter" / "adapter.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


@pytest.mark.slow
def test_timesformers_own_class_from_files_to_the_table(place, monkeypatch):
    from transformers import TimesformerConfig, TimesformerModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    config = TimesformerConfig(image_size=32, patch_size=8, num_frames=4, **sizes)
    TimesformerModel(config).save_pretrained(place / "timesformer")
    monkeypatch.setenv("FUSION_TIMESFORMER", str(place / "timesformer"))
    run("train", "av-scenes", *TINY, *FEW, "--set", "modalities.video.encoder=timesformer", "--out", "run")
    system = load_system(place / "run" / "adapter")
    assert system.by_modality()["video"].config.encoder_width == 16
    card = json.loads((place / "run" / "run_card.json").read_text())
    assert card["modalities"]["video"]["encoder"]["name"] == "timesformer"
    conditions = json.loads((place / "run" / "modalities.json").read_text())["conditions"]
    assert conditions["video"]["by_kind"]["sight"]["n"] > 0


@pytest.mark.slow
def test_questions_alone_in_music_avqas_layout_train_a_system(place):
    sizes = ("train=8", "val=3", "test=4", "side=32", "seconds=2.0", "frame_rate=8.0")
    run("data", "prepare", "av-scenes", "--root", "made", *(part for size in sizes for part in ("--set", size)))
    kinds = {"sight": "Visual", "sound": "Audio", "both": "Audio-Visual"}
    (place / "json").mkdir()
    for split in ("train", "val", "test"):
        questions = json.loads((place / "made" / "questions" / f"{split}.json").read_text())["items"]
        entries = [
            {
                "video_id": item["clip"],
                "question_id": number,
                "type": json.dumps([kinds[item["kind"]], item["category"].title()]),
                "question_content": item["text"],
                "templ_values": "[]",
                "question_deleted": 0,
                "anser": item["answer"],
            }
            for number, item in enumerate(questions)
        ]
        (place / "json" / f"avqa-{split}.json").write_text(json.dumps(entries))
    run("data", "prepare", "avqa", "--video-dir", "made/video", "--source", "json", "--root", "avqa")
    run("train", "avqa", *TINY, "--root", "avqa", "--out", "run")
    scores = json.loads((place / "run" / "modalities.json").read_text())
    assert scores["conditions"]["audio+video"]["questions"]["n"] > 10
    assert "cider_d" not in scores["conditions"]["audio+video"]
    judged = [
        event for line in (place / "run" / "log.jsonl").open() if (event := json.loads(line))["event"] == "evaluated"
    ]
    assert judged
    assert all(0 <= event["accuracy"] <= 1 and "cider_d" not in event for event in judged)
    card = json.loads((place / "run" / "run_card.json").read_text())
    assert card["training"]["selection_metric"] == "accuracy of val, by likelihood"
    assert not (place / "run" / "predictions").exists()
