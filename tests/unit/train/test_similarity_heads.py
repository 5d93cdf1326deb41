"""The linear heads: loss, pooling, training, and retrieval as their measure."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from fusion_core.errors import ConfigError
from fusion_encoders.base import FeatureSequence
from fusion_encoders.hashed_words import HashedWordsEncoder
from fusion_train.examples import CaptionedClip
from fusion_train.retrieval import chance_recall, first_ranks, retrieval
from fusion_train.similarity_heads import (
    LinearHeads,
    PairedSplit,
    multi_positive_loss,
    pool_frames,
    split_similarity,
    train_heads,
)
from fusion_train.similarity_settings import HeadSettings, parse_head_settings
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

KINDS = ("A dog barks", "Rain falls", "A bell rings", "Wind blows")
PLACES = ("nearby", "far away", "in a street")
SETTINGS = HeadSettings(width=16, epochs=30, batch=16, lr=5e-3, dropout=0.1)


def features(key: str) -> np.ndarray:
    """Frames that tell the clip's kind, key modulo 4, under noise."""
    number = int(key)
    generator = np.random.default_rng(number)
    return np.eye(8)[number % 4] * 2 + 0.5 * generator.normal(size=(int(generator.integers(3, 9)), 8))


def clips(start: int, count: int) -> list[CaptionedClip]:
    """Clips whose sentences name their kind; two of three sentences are shared by many clips."""
    return [
        CaptionedClip(f"c{n}", str(n), (KINDS[n % 4], f"{KINDS[n % 4]} {PLACES[n % 3]}", f"{KINDS[n % 4]} number {n}"))
        for n in range(start, start + count)
    ]


def split(start: int, count: int) -> PairedSplit:
    return PairedSplit.of(clips(start, count), features, HashedWordsEncoder(64).encode)


@pytest.fixture(scope="module")
def train() -> PairedSplit:
    return split(0, 64)


@pytest.fixture(scope="module")
def val() -> PairedSplit:
    return split(100, 16)


def test_a_sentence_of_several_clips_is_one_text_that_is_right_for_each(train: PairedSplit):
    assert len(train.text_MG) == 4 + 12 + 64
    relevant = train.relevant(range(64), range(80))
    assert relevant.sum(dim=1).tolist() == [3] * 64
    assert sorted(relevant.sum(dim=0).tolist())[-4:] == [16] * 4
    some = train.relevant([5, 9], train.own[5])
    assert some[0].all()
    assert some.shape == (2, 3)
    assert some[1].tolist() == [text in train.own[9] for text in train.own[5]]


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(0, 5))
def test_padding_does_not_change_a_bit_of_the_pooled_features(lengths: list[int], seed: int):
    generator = torch.Generator().manual_seed(seed)
    frames = [torch.randn(length, 5, generator=generator) - 3 for length in lengths]
    pooled = pool_frames(FeatureSequence.pad(frames))
    assert torch.equal(pooled, torch.cat([pool_frames(FeatureSequence.pad([x])) for x in frames]))
    assert torch.equal(pooled[0, 5:], frames[0].max(dim=0).values)


def test_the_loss_with_one_partner_each_is_the_symmetric_cross_entropy():
    logits = torch.randn(5, 5, generator=torch.Generator().manual_seed(0))
    target = torch.arange(5)
    expected = (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2
    assert torch.allclose(multi_positive_loss(logits, torch.eye(5, dtype=torch.bool)), expected)


def test_the_loss_with_several_partners_by_hand():
    logits = torch.tensor([[1.0, 0.0, 2.0], [0.0, 3.0, 1.0]])
    relevant = torch.tensor([[True, True, False], [False, True, True]])
    rows = [
        -(1 + 0 - 2 * np.log(np.exp([1, 0, 2]).sum())) / 2,
        -(3 + 1 - 2 * np.log(np.exp([0, 3, 1]).sum())) / 2,
    ]
    columns = [
        -(1 - np.log(np.exp([1, 0]).sum())),
        -(0 + 3 - 2 * np.log(np.exp([0, 3]).sum())) / 2,
        -(1 - np.log(np.exp([2, 1]).sum())),
    ]
    expected = (np.mean(rows) + np.mean(columns)) / 2
    assert float(multi_positive_loss(logits, relevant)) == pytest.approx(expected, abs=1e-6)


def share_of_right_kinds(heads: LinearHeads) -> float:
    """Of clips that training never heard: how often the nearest sentence is one of the clip's kind."""
    unseen = split(200, 40)
    similarity, _ = split_similarity(heads, unseen)
    kinds = [{text for clip in range(kind, 40, 4) for text in unseen.own[clip]} for kind in range(4)]
    return float(np.mean([int(best) in kinds[clip % 4] for clip, best in enumerate(similarity.argmax(dim=1))]))


def test_heads_find_the_kind_of_unseen_clips(train: PairedSplit, val: PairedSplit):
    heads, best = train_heads(train, val, SETTINGS)
    assert best["epoch"] >= 1
    assert share_of_right_kinds(heads) > 0.9
    found = retrieval(*split_similarity(heads, split(200, 40)))
    for direction in found.values():
        assert direction.recall[1] > 3 * direction.chance[1]


def test_heads_trained_on_shuffled_captions_find_nothing(val: PairedSplit):
    shuffled = np.random.default_rng(0).permutation(64)
    pairs = [
        CaptionedClip(one.id, one.sha256, clips(0, 64)[other].references)
        for one, other in zip(clips(0, 64), shuffled, strict=True)
    ]
    broken = PairedSplit.of(pairs, features, HashedWordsEncoder(64).encode)
    heads, _ = train_heads(broken, val, SETTINGS)
    assert share_of_right_kinds(heads) < 0.6


def test_equal_seeds_give_equal_bits_whatever_the_threads_and_the_global_random_state(
    train: PairedSplit, val: PairedSplit
):
    threads = torch.get_num_threads()
    first, best = train_heads(train, val, SETTINGS)
    torch.manual_seed(99)
    before = torch.get_rng_state()
    torch.set_num_threads(2)
    try:
        second, again = train_heads(train, val, SETTINGS)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(before, torch.get_rng_state())
    assert best == again
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())
    other, _ = train_heads(train, val, SETTINGS.model_copy(update={"seed": 1}))
    assert not torch.equal(first.audio.weight, other.audio.weight)


def test_training_stops_when_val_gets_no_better_and_keeps_the_best_weights(train: PairedSplit, val: PairedSplit):
    epochs: list[dict[str, float]] = []
    settings = SETTINGS.model_copy(
        update={"lr": 0.3, "weight_decay": 0.0, "dropout": 0.0, "patience": 3, "epochs": 200}
    )
    heads, best = train_heads(train, val, settings, epochs.append)
    assert len(epochs) == best["epoch"] + 3 < 200
    assert best["val_loss"] == min(one["val_loss"] for one in epochs)
    similarity, relevant = split_similarity(heads, val)
    loss = multi_positive_loss(heads.log_scale.exp() * similarity, relevant)
    assert float(loss.detach()) == pytest.approx(best["val_loss"], abs=1e-6)


def test_a_constant_feature_is_no_division_by_zero(val: PairedSplit):
    constant = PairedSplit.of(clips(0, 8), lambda key: np.ones((3, 8)), HashedWordsEncoder(64).encode)
    heads, _ = train_heads(constant, val, SETTINGS.model_copy(update={"epochs": 2}))
    assert all(torch.isfinite(value).all() for value in heads.state_dict().values())


def test_ranks_by_hand_and_equal_items_count_against_the_system():
    similarity = torch.tensor([[0.9, 0.5, 0.1], [0.3, 0.3, 0.3], [0.1, 0.2, 0.3]])
    relevant = torch.tensor([[True, False, False], [False, True, False], [True, True, False]])
    assert first_ranks(similarity, relevant).tolist() == [1, 3, 2]


@pytest.mark.parametrize("right", [1, 2, 4])
@pytest.mark.parametrize("k", [1, 2, 5, 6])
def test_chance_is_the_share_of_orders_that_hit(right: int, k: int):
    orders = list(permutations(range(5)))
    expected = sum(any(item < right for item in order[:k]) for order in orders) / len(orders)
    assert chance_recall(right, 5, k) == pytest.approx(expected)


def test_retrieval_counts_both_directions():
    similarity = torch.eye(12, dtype=torch.float64)
    relevant = torch.eye(12, dtype=torch.bool)
    perfect = retrieval(similarity, relevant)
    assert perfect["audio_to_text"].recall == {1: 1.0, 10: 1.0}
    assert perfect["text_to_audio"].chance == {1: pytest.approx(1 / 12), 10: pytest.approx(10 / 12)}
    worst = retrieval(-similarity, relevant)
    assert worst["audio_to_text"].recall == {1: 0.0, 10: 0.0}
    assert worst["text_to_audio"].median_rank == 12
    lopsided = retrieval(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([[True, False], [True, True]]))
    assert lopsided["audio_to_text"].recall[1] == 0.5
    assert lopsided["text_to_audio"].recall[1] == 0.5


def test_settings_of_the_heads():
    settings = parse_head_settings(["heads.width=8", "heads.text_encoder=hashed-words"], seed=3)
    assert (settings.width, settings.text_encoder, settings.seed) == (8, "hashed-words", 3)
    assert parse_head_settings([]) == HeadSettings()
    for change, message in (
        ("heads.wide=8", "The keys are text_encoder, width"),
        ("heads.width=0", "width"),
        ("heads.width", "write it as heads.KEY=VALUE"),
        ("schedule.steps=3", "write it as heads.KEY=VALUE"),
        ("heads.width=[1", "not valid YAML"),
    ):
        with pytest.raises(ConfigError, match=message):
            parse_head_settings([change])
