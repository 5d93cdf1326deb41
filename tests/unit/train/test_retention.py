"""Retention on tiny models: reading saves work and changes nothing, bits are kept, damage is caught, the command says so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from fusion_cli.main import app
from fusion_core.backbone import Backbone
from fusion_core.context import HeardFrom
from fusion_core.errors import ConfigError, DataError
from fusion_core.pretrained import load_backbone
from fusion_core.systems.base import FusionSystem
from fusion_core.vision import VisionBackbone
from fusion_encoders.base import FeatureSequence
from fusion_encoders.registry import load_encoder
from fusion_eval.schemas import RunCard
from fusion_eval.schemas.retention import Retention
from fusion_train import retention, retention_reading
from fusion_train.config import DecodingSettings, load_settings
from fusion_train.model import build_system, save_settings
from fusion_train.retention import Inquiry, RetentionMeasurement
from fusion_train.retention_log import RetentionLog, stability_frontier
from fusion_train.retention_probe import Probe, ProbeItem, load_probe, write_probe
from fusion_train.retention_reading import Hearing, Layout, ProbeReader
from fusion_train.retention_runs import read_run, shared_backbone
from fusion_train.visual_questions import example, render
from torch import Tensor
from typer.testing import CliRunner

WIDTH = 12
ADDITIVE = {"sites": [3, 6], "tokens": 4, "projector_width": 16}
FROZEN = {
    "additive": {"hears": "answer"},
    "concat": {"width": 10, "hears": "answer"},
    "cross-attention": {"width": 4, "hears": "answer"},
    "hybrid": {"projector_width": 24, "hears": "answer"},
}
CLIPS = tuple(torch.randn(frames, WIDTH, generator=torch.Generator().manual_seed(frames)) for frames in (5, 9, 7))


class SeeingLlama(VisionBackbone):
    """The tiny Llama, which is shown the mean colour of each quarter of an image."""

    def __init__(self) -> None:
        blind = load_backbone("tiny-random")
        super().__init__(blind.model, blind.tokenizer, blind.identity)
        self.image_token_id = blind.tokenizer.convert_tokens_to_ids("#")
        self.image_tokens, self.image_size = 4, 32

    def embed_images(self, pixels_B3HW: Tensor) -> Tensor:
        cells_B34 = torch.nn.functional.adaptive_avg_pool2d(pixels_B3HW / 255, 2).flatten(2)
        return cells_B34.transpose(1, 2) @ torch.randn(3, self.width, generator=torch.Generator().manual_seed(0))

    def ask(self, question: str, image: bool) -> str:
        return f"<|start|>{'#' * 4 if image else ''}{question}<|end|><|start|>"


@pytest.fixture(autouse=True)
def _short_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    short = DecodingSettings(beams=1, max_new_tokens=2)
    monkeypatch.setattr(retention_reading, "GREEDY", short)
    monkeypatch.setattr(retention, "GREEDY", short)
    monkeypatch.setenv("FUSION_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def seeing() -> Backbone:
    return SeeingLlama()


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Probe:
    """Two questions an image, one without."""
    from fusion_encoders.images import save_image

    folder = tmp_path_factory.mktemp("probe")
    items = [ProbeItem(question_id="text", text="Up?", answer="yes", options=("yes", "no"))]
    for index in range(4):
        scene, questions = example("test", 0, index)
        save_image(folder / "images" / f"{index}.png", render(scene, 32))
        for question in questions[:2]:
            facts = {"text": question.text, "answer": question.answer, "category": question.category}
            name = f"{index}-{question.category}"
            items.append(ProbeItem(question_id=name, image=f"{index}.png", options=question.options, **facts))
    items.append(ProbeItem(question_id="free", image="0.png", text="What?", answer="a dog"))
    write_probe(folder / "probe.jsonl", items)
    return load_probe(folder)


def build(name: str, backbone: Backbone, **options: Any) -> FusionSystem:
    settings = load_settings("tiny")
    settings = settings.model_copy(update={"reference": ADDITIVE, "system": options})
    system = build_system(name, settings, backbone, WIDTH)
    for gate, value in system.named_parameters():
        if ".gate." in gate:
            value.data.fill_(0.3)
    return system


def direct(backbone: Backbone, reader: ProbeReader, item: ProbeItem, layout: Layout, context: Any) -> float:
    """Return the log-probability of the known answer, read with its prompt in one call."""
    prompt = reader.prompt(item, layout)
    answer = backbone.tokenizer(item.answer, add_special_tokens=False)["input_ids"]
    ids_BS = torch.tensor([[*prompt.ids, *answer]])
    image = item.image is not None and layout.image
    images = reader._image(item)[None] if image else None
    with torch.inference_mode():
        hidden_BSD = backbone.hidden(ids_BS, None, None, context and HeardFrom(context, prompt.unheard), images)
        logprobs_NV = backbone.logits(hidden_BSD)[0, len(prompt.ids) - 1 : -1].log_softmax(dim=-1)
    return float(logprobs_NV.gather(1, torch.tensor(answer)[:, None]).sum())


@pytest.mark.parametrize(
    ("name", "options"),
    [*FROZEN.items(), ("additive", {"hears": "all"}), ("additive", {"placement": "both"})],
    ids=[*FROZEN, "hears-all", "slots"],
)
def test_likelihoods_are_those_of_one_reading(name, options, seeing, probe):
    system = build(name, seeing, **options)
    layout = Layout(slots=system.slots, heard=system.hears_prompt)
    reader = ProbeReader(seeing, probe)
    (answers,) = reader.answer([Hearing(system, CLIPS)], layout)
    for place in (0, 1, 4, len(probe.items) - 1):
        item = probe.items[place]
        features = FeatureSequence.pad([CLIPS[place % 3]])
        prompt = reader.prompt(item, layout)
        length = len(prompt.ids) + len(seeing.tokenizer(item.answer, add_special_tokens=False)["input_ids"])
        with torch.no_grad():
            context = system.bind(features.x_BTA, features.mask_BT, prompt.slot_index(length))
        expected = direct(seeing, reader, item, layout, context)
        assert answers.outcomes[item.question_id].answer_logprob == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("name", FROZEN)
def test_with_nothing_bound_every_bit_is_kept(name, seeing, probe):
    reader = ProbeReader(seeing, probe)
    (before,) = reader.answer([Hearing()], Layout())
    system = build(name, seeing, **FROZEN[name])
    none, heard = reader.answer([Hearing(system), Hearing(system, CLIPS)], Layout())
    assert none == before
    assert heard.logits_sha256 != before.logits_sha256
    assert reader.answer([Hearing(system, CLIPS)], Layout()) == [heard]  # company does not matter


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), [("partial-unfreeze", {"width": 4}), ("data-only", {"rank": 2})])
def test_systems_that_train_the_backbone_drift(name, options, seeing, probe, tmp_path):
    system = build(name, seeing, **options)
    log = RetentionLog(seeing, system, probe, CLIPS, tmp_path, every=2)
    assert log.measure(1, 10, 0.1) == {}
    first = log.measure(2, 20, 0.2)
    assert first["none"] == pytest.approx(first["before"], abs=1e-4)
    with torch.no_grad():
        for parameter in system.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    log.measure(4, 40, 0.4)
    again = log.measure(4, 40, 0.5)
    system.detach()
    assert abs(again["none"]["answer_logprob"] - again["before"]["answer_logprob"]) > 0.01
    rows = stability_frontier(tmp_path)
    assert [(row["step"], row["score"]) for row in rows] == [(20, 0.2), (40, 0.5)]
    assert ("distractor" in again) == (name == "partial-unfreeze")


def test_blind_shows_no_image(seeing, probe):
    reader = ProbeReader(seeing, probe.with_images())
    item = probe.items[1]
    assert seeing.image_token_id in reader.prompt(item, Layout()).ids
    assert seeing.image_token_id not in reader.prompt(item, Layout(image=False)).ids
    seen, blind = (reader.answer([Hearing()], layout)[0] for layout in (Layout(), Layout(image=False)))
    assert seen.logits_sha256 != blind.logits_sha256


def test_images_need_eyes(probe):
    with pytest.raises(ConfigError, match="sees none"):
        ProbeReader(load_backbone("tiny-random"), probe)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2"),
        ('{"question_id": "b", "text": "x", "answer": "y", "options": ["z"]}', "do not hold the answer"),
        ('{"question_id": "a", "text": "x", "answer": "y"}', "twice"),
        ('{"question_id": "b", "text": "x", "answer": "y", "image": "absent.png"}', "absent.png"),
        ('{"question_id": "b", "text": "x", "answer": "y", "image": "../secret.png"}', "inside"),
    ],
)
def test_malformed_probes_are_refused(line, said, tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(f'{{"question_id": "a", "text": "x", "answer": 3}}\n{line}\n')
    with pytest.raises(DataError, match=said):
        load_probe(path)


# The command, on runs made by hand.


@pytest.fixture(scope="module")
def clear_questions() -> list[ProbeItem]:
    """Questions that the tiny Llama answers by a wide margin; what it answers is taken for right."""
    backbone = load_backbone("tiny-random")
    names = [f"{number:03d}" for number in range(800)]
    ids_BS = torch.tensor([backbone.prompt(name).ids for name in names])
    with torch.inference_mode():
        logits_BV = backbone.logits(backbone.hidden(ids_BS)[:, -1])
    a, b = (backbone.tokenizer(letter, add_special_tokens=False)["input_ids"][0] for letter in "ab")
    gaps = (logits_BV[:, a] - logits_BV[:, b]).tolist()
    wide = [(name, gap) for name, gap in zip(names, gaps, strict=True) if abs(gap) > 0.5]
    return [
        ProbeItem(question_id=name, text=name, answer="a" if gap > 0 else "b", options=("a", "b")) for name, gap in wide
    ]


@pytest.fixture
def place(tmp_path, clear_questions, monkeypatch) -> Iterator[Path]:
    """A folder with a probe and sounds that distract."""
    monkeypatch.chdir(tmp_path)
    assert len(clear_questions) > 545  # or no bound could exclude a loss of 0.5 points
    write_probe(tmp_path / "probe.jsonl", clear_questions)
    (tmp_path / "sounds").mkdir()
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000)
    soundfile.write(tmp_path / "sounds" / "noise.wav", noise, 16_000)
    return tmp_path


def make_run(folder: Path, alpha: float, **changes: Any) -> None:
    backbone = load_backbone("tiny-random")
    settings = load_settings("tiny")
    settings = settings.model_copy(update={"reference": {**ADDITIVE, "hears": "answer"}, **changes})
    system = build_system("additive", settings, backbone, load_encoder("logmel").width)
    for site in system.sites_by_block().values():
        site.gate.alpha.data.fill_(alpha)
    system.save_pretrained(folder / "adapter")
    (folder / "settings.json").write_bytes(save_settings("additive", "scenes", settings))
    card(folder.name, backbone.identity.weights_sha256).write(folder / "run_card.json")


def card(run_id: str, weights_sha256: str) -> RunCard:
    return RunCard.model_validate(
        {
            "run_id": run_id,
            "created": "2026-01-02T03:04:05Z",
            "command": ["fusion"],
            "seed": 0,
            "dataset": {"name": "scenes", "references_sha256": {}, "counts_by_status": {"ok": 1}},
            "backbone": {"name": "tiny-random", "weights_sha256": weights_sha256, "prompt": "x"},
            "system": {"name": "additive", "config": {}},
            "training": {
                "loss_weights": {"xe": 1.0},
                "optimiser": {"name": "AdamW"},
                "schedule": {"name": "cosine"},
                "batch_size": 1,
                "accumulation": 1,
                "precision": "fp32",
            },
            "decoding": {"beams": 1, "max_new_tokens": 1, "length_penalty": 1.0},
            "parameters": {"parts": {}, "total": 0},
            "cost": {},
            "hardware": {"device": "cpu"},
            "packages": {},
        }
    )


def ask(*arguments: str) -> Any:
    fixed = ["--probe", "probe.jsonl", "--scoring", "likelihood", "--distractors", "sounds", "--gate"]
    return CliRunner().invoke(app, ["eval", "retention", *fixed, *arguments])


@pytest.mark.slow
def test_a_damaged_adapter_is_caught(place):
    make_run(place / "sound", 0.05)
    make_run(place / "damaged", 20 * 0.05)
    good = ask("--ckpt", "sound", "--condition", "none,distractor")
    assert good.exit_code == 0, good.output
    found = Retention.read(place / "sound" / "retention.json")
    assert found.conditions["none"].verdict == "identical"
    assert found.conditions["distractor"].verdict == "kept"
    assert not found.conditions["distractor"].identical
    bad = ask("--ckpt", "sound", "--ckpt", "damaged", "--condition", "none,distractor", "--json")
    assert bad.exit_code == 5
    rows = {(r["run"], r["condition"]): r for r in json.loads(bad.stdout)["rows"] if r["scoring"] == "likelihood"}
    assert rows["damaged", "none"]["verdict"] == "identical"
    assert rows["damaged", "distractor"]["verdict"] == "lost"
    assert rows["damaged", "distractor"]["lost"] > 10
    assert rows["sound", "distractor"]["verdict"] == "kept"
    assert len(list((place / "cache" / "retention").glob("*.json"))) == 1  # asked once before, then kept


def test_one_that_acts_with_nothing_bound_is_seen(place):
    """Runs that leave the weights as they are share one reading with nothing bound, all attached."""
    for name in ("sound", "leaking"):
        make_run(place / name, 0.05)
    runs = [read_run(place / name) for name in ("sound", "leaking")]
    backbone = shared_backbone(runs, None)
    measurement = RetentionMeasurement(backbone, Inquiry(load_probe(place / "probe.jsonl").first(20), ("none",)))
    assert [one.conditions["none"].verdict for one in measurement.measure(runs)] == ["identical", "identical"]
    head = backbone.model.get_output_embeddings()
    attach, detach = runs[1].system.attach, runs[1].system.detach
    hooks: list[Any] = []
    runs[1].system.attach = lambda to: (
        attach(to),
        hooks.append(head.register_forward_hook(lambda *call: call[2] * 1.01)),
    )
    runs[1].system.detach = lambda: (hooks.pop().remove(), detach())
    assert [one.conditions["none"].identical for one in measurement.measure(runs)] == [False, False]


def test_a_run_that_began_with_none_has_no_earlier_distractor(place):
    make_run(place / "run", 0.1)
    refused = ask("--ckpt", "run", "--condition", "earlier_distractor").exception
    assert isinstance(refused, ConfigError)
    assert "did not begin with a run" in str(refused)
    assert not (place / "run" / "retention.json").exists()


def test_another_language_model_is_refused(place):
    make_run(place / "run", 0.1)
    card("run", "0" * 64).write(place / "run" / "run_card.json")
    result = ask("--ckpt", "run")
    assert isinstance(result.exception, ConfigError)
    assert "trained on tiny-random" in str(result.exception)


def test_runs_that_differ_are_not_measured_together(place):
    make_run(place / "a", 0.1)
    make_run(place / "b", 0.1, precision="bf16")
    assert "differ in backbone or precision" in str(ask("--ckpt", "a", "--ckpt", "b").exception)


def test_wrong_options_are_named(place):
    make_run(place / "run", 0.1)
    assert "no condition 'deaf'" in str(ask("--ckpt", "run", "--condition", "deaf").exception)
    assert "no scoring 'luck'" in str(ask("--ckpt", "run", "--scoring", "luck").exception)
    assert "asked blind" in str(ask("--ckpt", "run", "--condition", "blind").exception)
