"""Plans of scenes: what is held out of train, what seen means, and times that hold together."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, permutations

import numpy as np
import pytest
from fusion_core.errors import DataError
from fusion_train.datasets.scenes.bank import SynthesisedBank
from fusion_train.datasets.scenes.graph import Scene, Source, class_sequence
from fusion_train.datasets.scenes.leakage import leakage
from fusion_train.datasets.scenes.make import _references
from fusion_train.datasets.scenes.options import SPLITS, ScenesOptions
from fusion_train.datasets.scenes.plan import LEVELS, Layout, Planner, place
from fusion_train.datasets.scenes.splits import held_out_pairs, owner
from fusion_train.datasets.scenes.vocabulary import sound
from hypothesis import given, settings
from hypothesis import strategies as st

Plans = dict[str, list[Scene]]


@pytest.fixture(scope="module")
def planner() -> Planner:
    return Planner(ScenesOptions(), SynthesisedBank(44_100, 0))


@pytest.fixture(scope="module")
def plans(planner: Planner) -> Plans:
    return dict(planner.plan())


def names(scene: Scene) -> tuple[str, ...]:
    return tuple(event.sound_class for event in scene.foreground)


def test_a_fifth_of_all_ordered_pairs_is_held_out_and_evenly(planner: Planner) -> None:
    classes = planner.foreground["train"]
    pairs = list(permutations(classes, 2))
    assert planner.held_out < set(pairs)
    assert len(planner.held_out) == round(0.2 * len(pairs))
    for position in (0, 1):
        counts = Counter(pair[position] for pair in planner.held_out)
        assert set(counts) == set(classes)
        assert max(counts.values()) - min(counts.values()) <= 1


@given(st.integers(4, 30), st.integers(0, 1_000))
def test_held_out_pairs_leave_every_class_something_to_learn_from(count: int, seed: int) -> None:
    classes = [f"class {number}" for number in range(count)]
    pairs = held_out_pairs(classes, seed)
    assert len(pairs) == round(0.2 * count * (count - 1))
    assert all(first != second for first, second in pairs)
    leading = Counter(first for first, _ in pairs)
    assert max(leading.values(), default=0) < count - 1


def test_held_out_pairs_never_occur_in_train_or_val(planner: Planner, plans: Plans) -> None:
    for scene in plans["train"] + plans["val"]:
        assert scene.combination == "seen"
        assert not set(combinations(names(scene), 2)) & planner.held_out


def test_test_is_half_seen_half_held_out_and_otherwise_alike(planner: Planner, plans: Plans) -> None:
    train_pairs = {pair for scene in plans["train"] for pair in scene.class_pairs}
    kinds = Counter(scene.combination for scene in plans["test"])
    assert kinds == {"seen": 80, "held_out": 80}
    for scene in plans["test"]:
        if scene.combination == "seen":
            assert scene.class_pairs
            assert scene.class_pairs <= train_pairs
        else:
            assert scene.class_pairs & planner.held_out
    layouts = {
        kind: Counter(
            (len(scene.foreground), scene.background is not None)
            for scene in plans["test"]
            if scene.combination == kind
        )
        for kind in kinds
    }
    assert layouts["seen"] == layouts["held_out"]


def test_no_class_sequence_is_in_two_splits(plans: Plans) -> None:
    def sequences(split: str) -> set[str]:
        return {
            class_sequence(scene.background.sound_class if scene.background else None, names(scene))
            for scene in plans[split]
        }

    for first, second in combinations(SPLITS, 2):
        assert not sequences(first) & sequences(second)
    assert all(owner(sequence, 0) == split for split in SPLITS for sequence in sequences(split))


def test_leakage_is_low(plans: Plans) -> None:
    references = [_references("scenes", split, plans[split], 0) for split in SPLITS]
    measured = leakage(plans["train"], plans["test"], references)
    assert measured["graphs"] == measured["sequences"] == 0
    assert measured["references"] < 0.1


def test_times_levels_and_counts_hold_together(plans: Plans) -> None:
    numbers = Counter[int]()
    for scene in plans["train"] + plans["test"]:
        numbers[len(scene.foreground)] += 1
        assert 6 <= scene.seconds <= 10
        assert scene.background is None or (scene.background.onset, scene.background.offset) == (0, scene.seconds)
        assert len(set(names(scene))) == len(names(scene))
        for event in scene.foreground:
            assert 0 < event.onset < event.offset <= scene.seconds
            assert LEVELS[0] <= event.level <= LEVELS[1]
            assert (event.count is not None) == (sound(event.sound_class).kind == "shot")
        for earlier, later in scene.order:
            assert scene.events[earlier].offset <= scene.events[later].onset
        assert scene.item().order == scene.order
    assert set(numbers) == {1, 2, 3}


def test_clips_do_not_depend_on_how_many_there_are() -> None:
    few, many = (
        Planner(ScenesOptions(train=count, val=2, test=2), SynthesisedBank(44_100, 0)).plan() for count in (60, 90)
    )
    assert few["train"] == many["train"][:60]


def test_another_seed_gives_other_scenes(plans: Plans) -> None:
    other = Planner(ScenesOptions(seed=1, train=60, val=2, test=2), SynthesisedBank(44_100, 1)).plan()
    assert [scene.graph() for scene in other["train"]] != [scene.graph() for scene in plans["train"][:60]]


def test_a_bank_with_few_classes_is_refused() -> None:
    class Few(SynthesisedBank):
        def classes(self, split: str) -> tuple[str, ...]:  # type: ignore[override]
            return ("rain", "siren", "dog barking")

    with pytest.raises(DataError, match="2 foreground classes"):
        Planner(ScenesOptions(), Few(8_000, 0))


@settings(max_examples=200)
@given(
    lengths=st.lists(st.one_of(st.none(), st.floats(0.05, 30)), min_size=1, max_size=3),
    shots=st.lists(st.booleans(), min_size=3, max_size=3),
    overlap=st.integers(1, 2),
    seconds=st.floats(4, 12),
    seed=st.integers(0, 10_000),
)
def test_events_of_any_length_fit_into_any_clip(
    lengths: list[float | None], shots: list[bool], overlap: int, seconds: float, seed: int
) -> None:
    sources = [
        Source("dog barking" if shot else "siren", length, 0.5, shot and length is not None, {})
        for length, shot in zip(lengths, shots, strict=False)
    ]
    layout = Layout(len(sources), background=False, overlap=overlap if overlap < len(sources) else None)
    events = place(sources, layout, seconds, np.random.default_rng(seed))
    assert [event.source for event in events] == sources
    for number, event in enumerate(events):
        assert 0 < event.onset < event.offset <= seconds + 1e-6
        if event.count and event.count > 1:
            assert event.source.seconds is not None
            assert event.interval > event.source.seconds
            assert event.seconds >= (event.count - 1) * event.interval
        if number and number != layout.overlap:
            assert event.onset >= max(before.offset for before in events[:number])
        elif number:
            assert events[number - 1].onset < event.onset < events[number - 1].offset
