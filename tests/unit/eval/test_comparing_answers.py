"""Paired differences of answers by kind: sums over clips, seeds averaged, against values by hand."""

from __future__ import annotations

import hashlib

import pytest
from fusion_eval.comparing_answers import compare_answers_by_kind
from fusion_eval.errors import DataError
from fusion_eval.schemas.questions import QuestionItem, Questions
from fusion_eval.schemas.retention import Answers, Outcome
from hypothesis import given
from hypothesis import strategies as st

KINDS = ("sight", "sound")


def ask(clips: int, by_clip: int = 3) -> Questions:
    items = [
        QuestionItem(
            id=f"{clip}-{n}",
            clip=f"clip{clip}",
            kind=KINDS[(clip + n) % 2],
            category="c",
            text="Which?",
            answer="a",
            options=("a", "b"),
        )
        for clip in range(clips)
        for n in range(by_clip)
    ]
    return Questions(dataset="d", split="test", items=tuple(items))


def answer(questions: Questions, right: list[bool]) -> Answers:
    outcomes = {
        item.id: Outcome(
            text="", exact=good, contains=good, likelihood=good, likelihood_normalised=good, answer_logprob=0.0
        )
        for item, good in zip(questions.items, right, strict=True)
    }
    return Answers(logits_sha256=hashlib.sha256(repr(right).encode()).hexdigest(), outcomes=outcomes)


@given(st.lists(st.booleans(), min_size=24, max_size=24), st.lists(st.booleans(), min_size=24, max_size=24))
def test_values_are_shares_of_the_questions_of_each_kind(first, second):
    questions = ask(8)
    found = compare_answers_by_kind(questions, [answer(questions, first)], [answer(questions, second)], 100)
    for kind in ("all", *KINDS):
        chosen = [n for n, item in enumerate(questions.items) if kind in ("all", item.kind)]
        a, b = (sum(right[n] for n in chosen) / len(chosen) for right in (first, second))
        assert found[kind].a.value == pytest.approx(a)
        assert found[kind].b.value == pytest.approx(b)
        assert found[kind].difference.value == pytest.approx(a - b)


def test_seeds_are_averaged_and_their_spread_is_kept_apart():
    questions = ask(8)
    good, bad = answer(questions, [True] * 24), answer(questions, [False] * 24)
    found = compare_answers_by_kind(questions, [good, bad], [bad, bad], 100)["all"]
    assert found.a.value == 0.5
    assert found.a.seeds.values == (1.0, 0.0)
    assert found.difference.value == 0.5


def test_a_difference_in_every_clip_excludes_none_and_equal_answers_do_not():
    questions = ask(20)
    good, bad = answer(questions, [True] * 60), answer(questions, [True, False, False] * 20)
    assert compare_answers_by_kind(questions, [good], [bad], 1000)["all"].difference.p < 0.01
    assert compare_answers_by_kind(questions, [bad], [bad], 1000)["all"].difference.p == 1


def test_one_clip_has_no_spread_and_missing_answers_are_refused():
    one, two = ask(1), ask(2)
    found = compare_answers_by_kind(one, [answer(one, [True] * 3)], [answer(one, [False] * 3)])["all"]
    assert found.difference.spread is None
    assert "one clip" in found.reason
    with pytest.raises(DataError, match="lack question"):
        compare_answers_by_kind(two, [answer(one, [True] * 3)], [answer(two, [True] * 6)])
    with pytest.raises(DataError, match="no answers"):
        compare_answers_by_kind(two, [], [answer(two, [True] * 6)])
