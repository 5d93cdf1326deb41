"""Greedy and beam decoding: the captions and scores of transformers' own generate, and of brute force."""

from __future__ import annotations

import itertools

import pytest
import torch
from fusion_core.pretrained import load_backbone
from fusion_core.systems.additive import Additive, AdditiveConfig
from fusion_train.config import DecodingSettings
from fusion_train.generate import generate
from fusion_train.sampling import sample_captions


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("tiny-random")


def prompts(backbone, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Left-padded prompts and their mask."""
    rows = [list(backbone.prompt(text).ids) for text in texts]
    length = max(map(len, rows))
    ids = torch.tensor([[backbone.pad_id] * (length - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


@pytest.mark.parametrize("beams", [1, 3, 5])
@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0])
def test_captions_are_those_of_transformers(backbone, beams, penalty):
    ids, mask = prompts(backbone, ["Describe the sound.", "What?", "Say it in a word, please."])
    settings = DecodingSettings(beams=beams, max_new_tokens=12, length_penalty=penalty)
    mine = generate(backbone, ids, settings, mask_BS=mask)
    theirs = backbone.model.generate(
        ids,
        attention_mask=mask,
        num_beams=beams,
        num_return_sequences=beams,
        max_new_tokens=12,
        length_penalty=penalty,
        early_stopping=False,
        do_sample=False,
        return_dict_in_generate=True,
        output_scores=True,
        eos_token_id=backbone.end_id,
        pad_token_id=backbone.pad_id,
    )
    sequences = theirs.sequences[:, ids.shape[1] :].view(len(ids), beams, -1)
    for clip, found in enumerate(mine):
        assert len(found) == beams
        for rank, hypothesis in enumerate(found):
            expected = [
                token for token in sequences[clip, rank].tolist() if token not in (backbone.pad_id, backbone.end_id)
            ]
            assert list(hypothesis.ids) == expected
            if beams > 1:
                score = float(theirs.sequences_scores.view(len(ids), beams)[clip, rank])
                assert hypothesis.score == pytest.approx(score, abs=1e-4)


def test_a_beam_as_wide_as_the_tree_finds_the_best_of_all_captions(backbone):
    """With two tokens at most and a beam of the whole vocabulary, beam search is exhaustive."""
    ids = torch.tensor([backbone.prompt().ids])
    vocabulary = len(backbone.tokenizer)
    found = generate(backbone, ids, DecodingSettings(beams=vocabulary, max_new_tokens=2, length_penalty=0.0))[0]
    first = backbone.logits(backbone.hidden(ids)[:, -1]).float().log_softmax(-1)[0]
    extended = torch.cat([ids.expand(vocabulary, -1), torch.arange(vocabulary)[:, None]], dim=1)
    second = backbone.logits(backbone.hidden(extended)[:, -1]).float().log_softmax(-1)
    scores = {(): float(first[backbone.end_id])}
    for one, two in itertools.product(range(vocabulary), repeat=2):
        if one != backbone.end_id:
            key = (one,) if two == backbone.end_id else (one, two)
            scores[key] = float(first[one] + second[one, two])
    best = sorted(scores.items(), key=lambda item: -item[1])[:10]
    assert [hypothesis.ids for hypothesis in found[:10]] == [ids for ids, _ in best]
    assert [hypothesis.logprob for hypothesis in found[:10]] == pytest.approx([score for _, score in best], abs=1e-4)


def test_logprob_is_the_sum_over_the_tokens_and_the_end(backbone):
    ids = torch.tensor([backbone.prompt().ids])
    for hypothesis in generate(backbone, ids, DecodingSettings(beams=4, max_new_tokens=10))[0]:
        ended = len(hypothesis.ids) < 10
        tokens = [*hypothesis.ids, *([backbone.end_id] if ended else [])]
        whole = torch.cat([ids, torch.tensor([tokens])], dim=1)
        logprobs = backbone.logits(backbone.hidden(whole)).float().log_softmax(-1)[0, ids.shape[1] - 1 : -1]
        expected = float(logprobs[torch.arange(len(tokens)), tokens].sum())
        assert hypothesis.logprob == pytest.approx(expected, abs=1e-3)


@pytest.fixture
def heard(backbone):
    """Twelve clips bound to an additive system whose gates are wide open, so that each clip is told another caption."""
    facts = Additive.backbone_options(backbone)
    options = {"sites": (3, 6), "tokens": 3, "projector_width": 16, "gate_init": 0.9}
    torch.manual_seed(2)
    system = Additive(AdditiveConfig(**facts, encoder_width=6, **options)).eval()
    system.calibrate(backbone)
    system.attach(backbone)
    x_BTA = torch.randn(12, 5, 6, generator=torch.Generator().manual_seed(4)) * 4
    with torch.no_grad():
        yield lambda rows: system.bind(x_BTA[rows], torch.ones(len(x_BTA[rows]), 5, dtype=torch.bool), None)
    system.detach()


@pytest.fixture
def ending(backbone, heard, monkeypatch):
    """Let the token end a caption that stands at the most different places in those of the twelve clips."""
    prompt = torch.tensor([backbone.prompt().ids]).expand(12, -1)
    found = generate(backbone, prompt, DecodingSettings(beams=1, max_new_tokens=24), heard(slice(0, 12)))
    captions = [best[0].ids for best in found]
    places = {token: {ids.index(token) for ids in captions if token in ids} for ids in captions for token in ids}
    end = max(places, key=lambda token: (len(places[token]), token))
    monkeypatch.setattr(type(backbone), "end_id", property(lambda self: end))


@pytest.fixture
def batches(backbone, monkeypatch):
    """The rows of each call of the decoder."""
    seen: list[int] = []
    hidden = backbone.hidden
    monkeypatch.setattr(
        backbone, "hidden", lambda ids, *rest, **more: (seen.append(len(ids)), hidden(ids, *rest, **more))[1]
    )
    return seen


@pytest.mark.parametrize("beams", [1, 4])
def test_what_is_done_leaves_the_batch_and_the_others_are_told_what_they_are_alone(
    backbone, heard, ending, batches, beams
):
    prompt = torch.tensor([backbone.prompt().ids])
    settings = DecodingSettings(beams=beams, max_new_tokens=24)
    together = generate(backbone, prompt.expand(12, -1), settings, heard(slice(0, 12)))
    searched = batches[1:]
    assert searched == sorted(searched, reverse=True)
    assert len(set(searched)) > 2
    assert len({len(found[0].ids) for found in together}) > 2
    for clip, found in enumerate(together):
        (alone,) = generate(backbone, prompt, settings, heard(slice(clip, clip + 1)))
        assert [one.ids for one in found] == [one.ids for one in alone]
        assert [one.logprob for one in found] == pytest.approx([one.logprob for one in alone], abs=1e-4)


def test_sampled_captions_that_ended_leave_the_batch_and_the_others_are_what_they_are_alone(
    backbone, heard, ending, batches
):
    prompt = torch.tensor([backbone.prompt().ids])
    uniform_BNT = torch.rand(12, 3, 24, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    together = sample_captions(backbone, prompt.expand(12, -1), uniform_BNT, heard(slice(0, 12)))
    sampled = batches[1:]
    assert sampled == sorted(sampled, reverse=True)
    assert len(set(sampled)) > 2
    for clip, found in enumerate(together):
        own = slice(clip, clip + 1)
        assert [found] == sample_captions(backbone, prompt, uniform_BNT[own], heard(own))
