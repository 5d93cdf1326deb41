"""Greedy and beam decoding: the captions and scores of transformers' own generate, and of brute force."""

from __future__ import annotations

import itertools

import pytest
import torch
from fusion_core.pretrained import load_backbone
from fusion_train.config import DecodingSettings
from fusion_train.generate import generate


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
