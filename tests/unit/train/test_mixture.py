"""Captions and answers in one mixture, and how batches of several prompts are read.

Shapes: B batch, S text positions, N predicted tokens, D width.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fusion_core.context import HeardFrom
from fusion_core.pretrained import load_backbone
from fusion_core.systems.additive import Additive, AdditiveConfig
from fusion_core.systems.joint import Joint
from fusion_eval.schemas.questions import QuestionItem
from fusion_train.config import MixtureSettings, RunSettings
from fusion_train.examples import CaptionedClip
from fusion_train.mixed_reading import MixedReader
from fusion_train.mixture import MixedExamples, make_mixed_batch
from fusion_train.modalities import ModalLookup
from fusion_train.objectives.xe import cross_entropy_sum

WIDTHS = {"audio": 6, "video": 4}


class Cache:
    """Frames of clips by hash."""

    def __init__(self, frames):
        self.frames = frames

    def has(self, sha256):
        return sha256 in self.frames

    def get(self, sha256):
        return self.frames[sha256]


def make_lookup(clips: int = 6) -> ModalLookup:
    """Frames of 3 to 7 steps; clip 2 has no video."""
    generator = np.random.default_rng(0)
    caches = {}
    for name, width in WIDTHS.items():
        there = [f"h{index}" for index in range(clips) if (name, index) != ("video", 2)]
        frames = {key: generator.normal(size=(3 + index % 5, width)) for index, key in enumerate(there)}
        caches[name] = Cache(frames)
    return ModalLookup(caches)


def make_joint(backbone, hears: str) -> Joint:
    members = {}
    for seed, (name, width) in enumerate(WIDTHS.items()):
        torch.manual_seed(seed)
        config = AdditiveConfig(
            **Additive.backbone_options(backbone),
            encoder_width=width,
            sites=(3, 6),
            tokens=4,
            projector_width=8,
            gate_init=0.3,
            hears=hears,
        )
        members[name] = Additive(config)
        members[name].calibrate(backbone)
    return Joint.of(members)


def make_examples(backbone, system, **settings) -> MixedExamples:
    clips = [CaptionedClip(f"c{index}", f"h{index}", (f"thing {index}", f"a red thing {index}")) for index in range(6)]
    questions = {
        clip.id: [
            QuestionItem(
                id=f"{clip.id}-q",
                clip=clip.id,
                kind="sight",
                category="colour",
                text="What colour is it?",
                answer="red",
                options=("red", "blue"),
            )
        ]
        for clip in clips
    }
    return MixedExamples(clips, questions, backbone, system, make_lookup(), MixtureSettings(**settings), seed=0)


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("tiny-random", torch.float32)


def settings(**changes) -> RunSettings:
    return RunSettings.model_validate({"schedule": {"steps": 1}, "evaluation": {"every": 1}, **changes})


def test_an_epoch_shows_each_clip_once_with_a_caption_or_an_answer(backbone):
    examples = make_examples(backbone, make_joint(backbone, "answer"))
    seen = [pair for epoch in range(30) for batch in examples.epoch(epoch, 3) for pair in batch]
    assert {clip for clip, _ in seen} == set(range(6))
    shares = np.bincount([text for _, text in seen]) / len(seen)
    assert shares == pytest.approx([1 / 3] * 3, abs=0.12)
    assert backbone.tokenizer.decode(examples.tokens[0][2][:-1]) == "red"
    assert "What colour is it?" in examples.prompts[0][2].text
    assert examples.prompts[0][0].text != examples.prompts[0][2].text
    without = make_examples(backbone, make_joint(backbone, "answer"), questions=False)
    assert [len(texts) for texts in without.tokens] == [2] * 6


def test_a_share_of_the_texts_has_one_modality_and_always_the_same(backbone):
    examples = make_examples(backbone, make_joint(backbone, "answer"), alone=0.5)
    bound = [examples.bound(clip, text) for clip in range(200) for text in range(3)]
    assert sum(len(names) == 1 for names in bound) / len(bound) == pytest.approx(0.5, abs=0.07)
    assert {names for names in bound if len(names) == 1} == {("audio",), ("video",)}
    assert bound == [examples.bound(clip, text) for clip in range(200) for text in range(3)]
    features = make_examples(backbone, make_joint(backbone, "answer"), alone=0.0).collate([(1, 0), (2, 0)]).features
    assert features.present["audio"].tolist() == [True, True]
    assert features.present["video"].tolist() == [True, False]  # clip 2 has none


@pytest.mark.parametrize("hears", ["answer", "all"])
@pytest.mark.parametrize("prefix", [True, False])
def test_rows_of_several_prompts_are_read_as_each_alone(backbone, hears, prefix, tmp_path, monkeypatch):
    monkeypatch.setenv("FUSION_CACHE", str(tmp_path))
    system = make_joint(backbone, hears)
    system.attach(backbone)
    examples = make_examples(backbone, system, alone=0.4)
    reader = MixedReader(backbone, examples.distinct_prompts(), examples.prompt, system, settings(frozen_prefix=prefix))
    pairs = [(0, 0), (1, 2), (2, 1), (3, 2)]
    reader.prepare_texts((examples.prompts[clip][text], examples.tokens[clip][text][:-1]) for clip, text in pairs)
    batch = examples.collate(pairs)
    found_ND = reader.hidden(batch, batch.features.bind(system))
    expected = []
    for clip, text in pairs:
        prompt, tokens = examples.prompts[clip][text], examples.tokens[clip][text]
        hashes, names = [examples.clips[clip].sha256], [examples.bound(clip, text)]
        context = examples.lookup.gather(hashes, names).bind(system)
        ids_BS = torch.tensor([[*prompt.ids, *tokens[:-1]]])
        if hears == "answer":
            context = HeardFrom(context, len(prompt.ids) - 1)
        expected.append(backbone.hidden(ids_BS, fusion=context)[0, len(prompt.ids) - 1 :])
    torch.testing.assert_close(found_ND, torch.cat(expected), rtol=1e-4, atol=1e-5)
    assert batch.targets_N.tolist() == [token for clip, text in pairs for token in examples.tokens[clip][text]]
    system.detach()


def test_gradients_reach_both_modalities_through_shared_heads(backbone, tmp_path, monkeypatch):
    monkeypatch.setenv("FUSION_CACHE", str(tmp_path))
    system = make_joint(backbone, "answer")
    system.attach(backbone)
    examples = make_examples(backbone, system, alone=0.0)
    reader = MixedReader(backbone, examples.distinct_prompts(), examples.prompt, system, settings())
    pairs = [(0, 0), (1, 2)]
    reader.prepare_texts((examples.prompts[clip][text], examples.tokens[clip][text][:-1]) for clip, text in pairs)
    for _ in range(2):  # a second step reads the same heads again
        batch = examples.collate(pairs)
        reader.hidden(batch, batch.features.bind(system)).square().sum().backward()
    for name, member in system.by_modality().items():
        assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in member.parameters()), name
    system.detach()


def test_prompts_are_padded_on_the_left_and_texts_on_the_right(backbone):
    system = make_joint(backbone, "answer")
    short, long = system.prompt(backbone, "Go."), system.prompt(backbone, "Describe it.")
    batch = make_mixed_batch([short, long], [[5, 6, 7], [8, 9]], 0, make_lookup().gather(["h0", "h1"]))
    missing = len(long.ids) - len(short.ids)
    assert batch.ids_BS[0].tolist() == [0] * missing + [*short.ids, 5, 6]
    assert batch.ids_BS[1].tolist() == [*long.ids, 8, 0]
    assert batch.mask_BS.sum(dim=1).tolist() == [len(short.ids) + 2, len(long.ids) + 1]
    assert batch.labels_BS.sum().item() == len(batch.targets_N) == 5
    assert batch.to(torch.device("cpu")).prompts == (short, long)


def test_an_answers_tokens_weigh_more_than_a_captions(backbone):
    system = make_joint(backbone, "answer")
    system.attach(backbone)
    examples = make_examples(backbone, system, alone=0.0, answer_weight=3.0)
    reader = MixedReader(backbone, examples.distinct_prompts(), examples.prompt, system, settings(frozen_prefix=False))

    def loss(pairs) -> float:
        batch = examples.collate(pairs)
        return float(cross_entropy_sum(reader, batch, batch.features.bind(system)))

    with torch.no_grad():
        caption, answer = loss([(0, 0)]), loss([(0, 2)])
        assert loss([(0, 0), (0, 2)]) == pytest.approx(caption + answer, rel=1e-4)
        examples.answer_weight = 1.0
        assert loss([(0, 2)]) == pytest.approx(answer / 3, rel=1e-5)
        assert loss([(0, 0)]) == pytest.approx(caption, rel=1e-6)
    system.detach()
