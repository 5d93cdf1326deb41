"""Scoring of answers and paired statistics of before and after, against scipy, formulas and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fusion_eval.errors import DataError
from fusion_eval.retention import (
    change_between,
    change_of,
    compare_answers,
    condense,
    contains_answer,
    is_exact,
    likeliest,
    mcnemar,
    normalise_answer,
    paired_change,
    score_bound,
    verdict,
)
from fusion_eval.schemas.retention import (
    Answers,
    ConditionRetention,
    Outcome,
    Question,
    Retention,
    RetentionBackbone,
)
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

QUANTILE = 1.6448536269514722


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The Red one!", "red 1"),
        ("  two\ncats. ", "2 cats"),
        ("A", ""),
        ("It’s “blue”", "it s blue"),
        ("３", "3"),
        ("theatre", "theatre"),
    ],
)
def test_answers_are_normalised(text, normal):
    assert normalise_answer(text) == normal


def test_exact_and_contains_are_apart():
    assert is_exact("Two.", "2")
    assert not is_exact("two cats", "2")
    assert contains_answer("There are two cats.", "2")
    assert contains_answer("a light blue car", "light blue")
    assert not contains_answer("a bluebird", "blue")


def test_length_decides_between_likelihoods():
    assert likeliest([-2.0, -3.0]) == 0
    assert likeliest([-2.0, -3.0], [1, 3]) == 1
    assert likeliest([-1.0, -1.0]) == 0


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_the_binomial_test(gained, lost):
    expected = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert mcnemar(gained, lost) == pytest.approx(expected)


@pytest.mark.parametrize("count", [10, 1000])
def test_bound_without_flips_is_the_score_of_a_share_of_zero(count):
    assert score_bound(0, 0, count) == pytest.approx(-(QUANTILE**2) / (count + QUANTILE**2), abs=1e-9)


def test_bound_is_the_normal_one_where_there_is_much_data():
    gained, lost, count = 3_000, 4_000, 100_000
    delta = (gained - lost) / count
    error = math.sqrt((gained + lost) / count - delta**2) / math.sqrt(count)
    assert score_bound(gained, lost, count) == pytest.approx(delta - QUANTILE * error, abs=1e-5)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(60, 400))
def test_bound_lies_below_the_difference_and_falls_with_losses(gained, lost, count):
    bound = score_bound(gained, lost, count)
    assert -1 <= bound < (gained - lost) / count
    assert score_bound(gained, lost + 1, count) < bound < score_bound(gained + 1, lost, count)


def test_bound_covers_as_it_says():
    generator = np.random.default_rng(0)
    flips = generator.multinomial(400, [0.02, 0.03, 0.95], size=3000)
    bounds = {key: score_bound(*key, 400) for key in {(int(won), int(lost)) for won, lost, _ in flips}}
    covered = np.mean([bounds[int(won), int(lost)] <= -0.01 for won, lost, _ in flips])
    assert 0.935 <= covered <= 0.97


def right(*values: int) -> np.ndarray:
    return np.array(values, dtype=bool)


def test_questions_of_one_image_count_as_fewer():
    before, after = right(1, 1, 1, 1, 1, 1, 1, 1), right(0, 0, 1, 1, 1, 1, 1, 1)
    alone = change_of(before, after, list("abcdefgh"))
    together = change_of(before, after, list("aabbccdd"))
    assert alone.design_effect == pytest.approx(1)
    assert together.design_effect == pytest.approx(2 * (4 / 3) / (8 / 7))
    assert together.bound < alone.bound < alone.delta == -0.25
    assert (together.gained, together.lost, together.clusters) == (0, 2, 4)


def test_without_flips_an_image_counts_once():
    same = right(1, 0, 1, 0)
    assert change_of(same, same, list("aabb")).bound == pytest.approx(score_bound(0, 0, 2))


def answers(texts: dict[str, bool], digest: str = "0") -> Answers:
    outcomes = {
        name: Outcome(text="", exact=ok, contains=ok, answer_logprob=0.0 if ok else -1.0) for name, ok in texts.items()
    }
    return Answers(logits_sha256=digest * 64, outcomes=outcomes)


def questions(count: int) -> dict[str, Question]:
    return {
        str(i): Question(category="even" if i % 2 == 0 else "odd", cluster=str(i), answer="x") for i in range(count)
    }


@pytest.mark.parametrize(("lost", "gained", "expected"), [(0, 0, "kept"), (30, 0, "lost"), (15, 14, "undecided")])
def test_verdicts(lost, gained, expected):
    names = [str(i) for i in range(1000)]
    before = answers({name: int(name) >= gained for name in names})
    after = answers({name: int(name) < 1000 - lost for name in names}, "1")
    found = compare_answers(questions(1000), before, after, "exact")
    assert found.verdict == expected == verdict(found.scorings["exact"])
    assert (found.scorings["exact"].lost, found.scorings["exact"].gained) == (lost, gained)
    assert found.answer_logprob.mean == pytest.approx((gained - lost) / 1000)
    assert {kind: change.n for kind, change in found.by_category.items()} == {"even": 500, "odd": 500}
    assert set(found.scorings) == {"exact", "contains"}  # no question has options


def test_equal_bits_are_identical_however_few_questions():
    same = answers({"0": True, "1": False})
    assert compare_answers(questions(2), same, same, "exact").verdict == "identical"
    with pytest.raises(ValueError, match="likelihood"):
        compare_answers(questions(2), same, same, "likelihood")


def findings(one: ConditionRetention) -> Retention:
    return Retention(
        run_id="a",
        system="additive",
        adapter_sha256="0" * 64,
        backbone=RetentionBackbone(name="tiny", weights_sha256="0" * 64, precision="float32"),
        probe="any",
        probe_sha256="0" * 64,
        scoring="exact",
        margin=-0.005,
        conditions={"silence": one},
        method={},
    )


def test_condensed_only_the_questions_that_flipped_are_listed_and_the_numbers_stay():
    def answers(right):
        outcomes = {
            f"q{i}": Outcome(text="yes", exact=i in right, contains=i != 1 or 0 in right, answer_logprob=-1.0)
            for i in range(4)
        }
        return Answers(logits_sha256=f"{len(right):064x}", outcomes=outcomes)

    questions = {f"q{i}": Question(category="any", cluster=f"q{i}", answer="yes") for i in range(4)}
    whole = findings(compare_answers(questions, answers({0, 1}), answers({1, 2, 3}), "exact"))
    small = condense(whole)
    found = small.conditions["silence"]
    assert found.listed == "flipped"
    assert found.scorings["contains"].lost == 1  # q1, which is not what the verdict is about
    assert list(found.questions) == list(found.before) == list(found.after) == ["q0", "q2", "q3"]
    assert found.scorings == whole.conditions["silence"].scorings
    assert condense(small) == small
    assert Retention.model_validate_json(small.model_dump_json(by_alias=True)) == small


def condensed(one: ConditionRetention) -> ConditionRetention:
    return condense(findings(one)).conditions["silence"]


@given(
    answered=st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=30),
    listed=st.tuples(st.booleans(), st.booleans()),
)
def test_two_runs_are_compared_through_what_each_has_flipped(answered, listed):
    """Whatever is listed, the change between two runs is that of their answers, question by question."""
    asked = questions(len(answered))
    before, first, then = ({str(i): right[side] for i, right in enumerate(answered)} for side in range(3))
    found = [
        compare_answers(asked, answers(before), answers(after, tag), "exact")
        for after, tag in ((first, "1"), (then, "2"))
    ]
    small = [condensed(one) if whole else one for one, whole in zip(found, listed, strict=True)]
    expected = paired_change(asked, answers(first), answers(then), "exact")
    assert change_between(small[0], small[1], "exact").model_dump() == pytest.approx(expected.model_dump())


def test_runs_that_were_asked_otherwise_are_not_compared():
    right = {"0": True, "1": False}
    found = compare_answers(questions(2), answers(right), answers(right, "1"), "exact")
    other = compare_answers(questions(2), answers(right, "3"), answers(right, "1"), "exact")
    with pytest.raises(DataError, match="another backbone"):
        change_between(found, other, "exact")
    shared = {name: one.model_copy(update={"cluster": "one"}) for name, one in questions(2).items()}
    joint = condensed(compare_answers(shared, answers(right), answers(right, "1"), "exact"))
    with pytest.raises(DataError, match="share images"):
        change_between(joint, joint, "exact")
