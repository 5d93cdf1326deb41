"""CIDEr-D against its definition written out clip by clip, and the properties that it must have."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from fusion_eval.errors import DataError
from fusion_eval.metrics.cider_d import CiderD, cider_d
from fusion_eval.metrics.document_frequency import DocumentFrequency
from hypothesis import assume, given, settings
from hypothesis import strategies as st

words = st.sampled_from(["a", "dog", "barks", "rain", "falls", "loudly", "and"])
caption = st.lists(words, max_size=8)
clips = st.lists(st.tuples(caption, st.lists(caption, min_size=1, max_size=4)), min_size=1, max_size=6)


def _grams(tokens: list[str]) -> Counter[tuple[str, ...]]:
    return Counter(
        tuple(tokens[start : start + order]) for order in range(1, 5) for start in range(len(tokens) - order + 1)
    )


def _frequency(references: list[list[list[str]]]) -> Counter[tuple[str, ...]]:
    return Counter(gram for captions in references for gram in set().union(*map(_grams, captions)))


def _by_definition(
    candidate: list[str], references: list[list[str]], frequency: Counter[tuple[str, ...]], clips: int
) -> float:
    def weigh(tokens: list[str], order: int) -> dict[tuple[str, ...], float]:
        counts = {gram: count for gram, count in _grams(tokens).items() if len(gram) == order}
        return {gram: n * (math.log(clips) - math.log(max(1, frequency[gram]))) for gram, n in counts.items()}

    total = 0.0
    for reference in references:
        gap = max(0, len(candidate) - 1) - max(0, len(reference) - 1)
        for order in range(1, 5):
            hypothesis, truth = weigh(candidate, order), weigh(reference, order)
            norm = math.hypot(*hypothesis.values()) * math.hypot(*truth.values())
            product = sum(min(weight, truth.get(gram, 0)) * truth.get(gram, 0) for gram, weight in hypothesis.items())
            total += product / norm * math.exp(-(gap**2) / 72) if norm else 0.0
    return 10 * total / 4 / len(references)


@given(clips)
def test_the_score_is_that_of_the_definition(data):
    candidates, references = [pair[0] for pair in data], [pair[1] for pair in data]
    frequency = _frequency(references)
    wanted = [_by_definition(*pair, frequency, len(data)) for pair in data]
    assert CiderD(references).score(candidates).tolist() == pytest.approx(wanted, abs=1e-12)


@given(clips, st.lists(st.lists(caption, min_size=1, max_size=3), min_size=1, max_size=5))
def test_the_score_with_given_frequencies_is_that_of_the_definition(data, corpus):
    candidates, references = [pair[0] for pair in data], [pair[1] for pair in data]
    frequency = _frequency(corpus)
    wanted = [_by_definition(*pair, frequency, len(corpus)) for pair in data]
    scores = CiderD(references, DocumentFrequency.from_references(corpus)).score(candidates)
    assert scores.tolist() == pytest.approx(wanted, abs=1e-12)


@given(clips, st.randoms(use_true_random=False))
def test_the_order_of_clips_and_of_references_does_not_matter(data, random):
    shuffled = [(candidate, random.sample(references, len(references))) for candidate, references in data]
    order = random.sample(range(len(data)), len(data))
    scores = CiderD([pair[1] for pair in data]).score([pair[0] for pair in data])
    again = CiderD([shuffled[i][1] for i in order]).score([shuffled[i][0] for i in order])
    assert again.tolist() == pytest.approx(scores[order].tolist(), abs=1e-12)


@given(clips)
def test_scores_lie_between_zero_and_ten(data):
    scores = CiderD([pair[1] for pair in data]).score([pair[0] for pair in data])
    assert all(0 <= score <= 10 + 1e-9 for score in scores)


@given(st.lists(words, min_size=4, max_size=8), caption)
def test_a_caption_equal_to_its_only_reference_scores_ten(tokens, other):
    grams = _grams(tokens)
    assume(all(any(len(gram) == order and gram not in _grams(other) for gram in grams) for order in range(1, 5)))
    assert CiderD([[tokens], [other]]).score([tokens, other])[0] == pytest.approx(10)


@given(clips, st.data())
@settings(max_examples=50)
def test_many_candidates_a_clip_score_as_each_does_alone(data, choice):
    references = [pair[1] for pair in data]
    scorer = CiderD(references)
    candidates = choice.draw(st.lists(caption, max_size=8))
    chosen = [choice.draw(st.integers(0, len(data) - 1)) for _ in candidates]
    together = scorer.score(candidates, chosen).tolist()
    alone = [scorer.score([tokens], [clip]).item() for tokens, clip in zip(candidates, chosen, strict=True)]
    assert together == pytest.approx(alone, abs=1e-12)


def test_one_clip_alone_scores_zero_because_nothing_is_rare():
    assert cider_d(["a dog"], [["a dog"]]) == (0.0, [0.0])


def test_captions_are_taken_as_people_write_them():
    references = [["A dog barks."], ["Rain falls!"]]
    assert (
        cider_d(["a DOG barks", "rain falls"], references)[1] == cider_d(["A dog barks.", "Rain falls"], references)[1]
    )


@pytest.mark.parametrize(
    ("candidates", "references", "message"),
    [
        ([], [], "no candidates"),
        (["a"], [["a"], ["b"]], "1 candidates but 2 clips"),
        (["a", "b"], [["a"], []], "Clip 1 has no references"),
    ],
)
def test_what_does_not_fit_is_refused(candidates, references, message):
    with pytest.raises(DataError, match=message):
        cider_d(candidates, references)


@given(st.lists(st.lists(caption, min_size=1, max_size=3), max_size=4))
@settings(max_examples=25)
def test_frequencies_count_clips_and_survive_a_file(tmp_path_factory, corpus):
    path = tmp_path_factory.mktemp("df") / "df.parquet"
    frequency = DocumentFrequency.from_references(corpus)
    assert frequency.counts() == {" ".join(gram): count for gram, count in _frequency(corpus).items()}
    frequency.save(path)
    loaded = DocumentFrequency.load(path)
    assert (loaded.counts(), loaded.clips) == (frequency.counts(), len(corpus))


def test_loaded_frequencies_weigh_alike(tmp_path):
    corpus = [[["a", "dog", "barks"]], [["a", "cat"]], [["rain", "falls"]]]
    frequency = DocumentFrequency.from_references(corpus)
    frequency.save(tmp_path / "df.parquet")
    loaded = DocumentFrequency.load(tmp_path / "df.parquet")
    references, candidates = [[["a", "dog", "runs"]]], [["a", "dog", "sleeps", "well"]]
    assert CiderD(references, loaded).score(candidates) == CiderD(references, frequency).score(candidates)


def test_a_file_that_holds_no_frequencies_is_named(tmp_path):
    import polars

    path = tmp_path / "df.parquet"
    with pytest.raises(DataError, match="does not exist"):
        DocumentFrequency.load(path)
    path.write_bytes(b"x")
    with pytest.raises(DataError, match="no readable Parquet"):
        DocumentFrequency.load(path)
    polars.DataFrame({"a": [1]}).write_parquet(path)
    with pytest.raises(DataError, match="schema is 'None'"):
        DocumentFrequency.load(path)
