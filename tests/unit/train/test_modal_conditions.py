"""What is bound under each condition, and how answers are counted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fusion_core.errors import ConfigError
from fusion_core.pretrained import load_backbone
from fusion_core.systems.additive import Additive, AdditiveConfig
from fusion_core.systems.joint import Joint
from fusion_eval.schemas import ReferenceItem, References
from fusion_eval.schemas.questions import QuestionItem
from fusion_eval.schemas.retention import Answers, Outcome
from fusion_train.conditions import SplitData
from fusion_train.config import DecodingSettings, choose_modalities, load_settings
from fusion_train.examples import CaptionedClip
from fusion_train.modal_conditions import ModalExamination, accuracy, conditions, examine
from fusion_train.modalities import ModalLookup


class Cache:
    """Frames of clips by hash."""

    def __init__(self, width, hashes, seed):
        generator = np.random.default_rng(seed)
        self.frames = {key: generator.normal(size=(4, width)) for key in hashes}

    def has(self, sha256):
        return sha256 in self.frames

    def get(self, sha256):
        return self.frames[sha256]


HASHES = tuple(f"h{index}" for index in range(5))


@pytest.fixture
def lookup():
    return ModalLookup({"audio": Cache(6, HASHES, 0), "video": Cache(4, HASHES[:4], 1)})


@pytest.fixture
def split():
    clips = [CaptionedClip(f"c{index}", key, ("a thing",)) for index, key in enumerate(HASHES)]
    items = tuple(ReferenceItem(id=clip.id, references=clip.references) for clip in clips)
    return SplitData("test", clips, References(dataset="toy", split="test", items=items), None)


def question(number: int, kind: str, text: str = "What is it?") -> QuestionItem:
    return QuestionItem(
        id=f"q{number}", clip=f"c{number}", kind=kind, category=kind, text=text, answer="red", options=("red", "blue")
    )


@pytest.fixture(params=["answer", "all"])
def examination(request, lookup):
    backbone = load_backbone("tiny-random", torch.float32)
    members = {}
    for seed, (name, width) in enumerate((("audio", 6), ("video", 4))):
        torch.manual_seed(seed)
        facts = Additive.backbone_options(backbone)
        options = {"sites": (3, 6), "tokens": 4, "projector_width": 8, "gate_init": 0.4, "hears": request.param}
        members[name] = Additive(AdditiveConfig(**facts, encoder_width=width, **options))
        members[name].calibrate(backbone)
    system = Joint.of(members).eval()
    system.attach(backbone)
    decoding = DecodingSettings(beams=2, max_new_tokens=3)
    prompt = system.prompt(backbone, "Describe it.")
    yield ModalExamination(backbone, system, prompt, lookup, decoding, seed=0)
    system.detach()


def test_conditions_are_all_each_shuffled_and_none():
    names = [one.name for one in conditions(["video", "audio"])]
    assert names == ["audio+video", "audio", "video", "shuffled-audio", "shuffled-video", "none"]
    assert [one.name for one in conditions(["video"])] == ["video", "shuffled-video", "none"]


def test_a_clip_is_given_what_it_has_and_in_a_shuffled_condition_anothers(lookup):
    found = lookup.gather(HASHES)
    assert len(found) == 5
    assert found.present["video"].tolist() == [True] * 4 + [False]
    assert lookup.lacking(HASHES) == {"audio": 0, "video": 1}
    assert lookup.has("h4")
    assert not lookup.has("h9")
    swapped = lookup.shuffled("video", {"h0": "h1", "h1": "h0"}).only(["video"]).gather(["h0", "h1"])
    own = lookup.only(["video"]).gather(["h1", "h0"])
    assert torch.equal(swapped.sequences["video"].x_BTA, own.sequences["video"].x_BTA)
    assert swapped.to("cpu").present["video"].tolist() == [True, True]


def test_each_condition_binds_what_it_says(examination, split):
    questions = [question(number, "sight") for number in range(4)]
    which = conditions(("audio", "video"))
    found = dict(zip((one.name for one in which), examination.answers(split, questions, which), strict=True))
    digests = {name: answers.logits_sha256 for name, answers in found.items()}
    assert len(set(digests.values())) == 6, "no two conditions compute the same"
    again = examination.answers(split, questions, [which[0]])[0]
    same = [found["audio+video"].outcomes[item.id].answer_logprob for item in questions]
    assert [again.outcomes[item.id].answer_logprob for item in questions] == pytest.approx(same, abs=1e-4)


def test_everything_is_written(examination, split, tmp_path):
    from fusion_eval.schemas import Predictions
    from fusion_eval.schemas.questions import ModalityScores, Questions

    items = tuple(question(number, kind) for number, kind in enumerate(("sight", "sound", "both", "sight")))
    questions = Questions(dataset="toy", split="test", items=items)
    scores = examine(examination, split, questions, tmp_path, "additive", "run", lambda sentence: None)
    written = ModalityScores.read(tmp_path / "modalities.json")
    assert set(written.conditions) == set(scores)
    assert written.lacking == {"audio": 0, "video": 1}
    for name, one in written.conditions.items():
        answers = Answers.read(tmp_path / "answers" / f"{name}.json")
        assert one.questions == accuracy(items, answers)
        assert {kind: found.n for kind, found in one.by_kind.items()} == {"both": 1, "sight": 2, "sound": 1}
        predictions = Predictions.read(tmp_path / "predictions" / f"{name}.json")
        assert len(predictions.items) == 5
        assert predictions.items[0].candidates is not None
    assert written.conditions["shuffled-video"].shuffled == ("video",)
    assert written.conditions["none"].bound == ()


def test_accuracy_counts_the_likeliest_option():
    items = [question(number, "sight") for number in range(4)]

    def outcome(right: bool, normalised: bool) -> Outcome:
        return Outcome(
            text="",
            exact=False,
            contains=False,
            likelihood=right,
            likelihood_normalised=normalised,
            answer_logprob=-1.0,
        )

    rows = [(True, False), (True, True), (True, False), (False, False)]
    outcomes = {item.id: outcome(*row) for item, row in zip(items, rows, strict=True)}
    found = accuracy(items, Answers(logits_sha256="0" * 64, outcomes=outcomes))
    assert (found.n, found.correct, found.accuracy, found.accuracy_normalised, found.chance) == (4, 3, 0.75, 0.25, 0.5)


def test_modalities_are_chosen_and_frozen_by_name():
    settings = load_settings("tiny", dataset="av-scenes")
    assert list(settings.modalities) == ["audio", "video"]
    chosen = choose_modalities(settings, ["video", "audio"], ["audio"])
    assert list(chosen.modalities) == ["audio", "video"]
    assert chosen.modalities["audio"].frozen
    assert chosen.modalities["video"].encoder == "patches"
    assert list(choose_modalities(settings, ["video"], []).modalities) == ["video"]
    with pytest.raises(ConfigError, match="--freeze touch"):
        choose_modalities(settings, None, ["touch"])
    assert load_settings("tiny", dataset="scenes").modalities == {}
