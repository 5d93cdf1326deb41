"""BLEU, ROUGE-L and diversity against their definitions written out, and the properties that they must have."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from fusion_eval.errors import DataError
from fusion_eval.metrics.base import ScoredClips
from fusion_eval.metrics.bleu import COLUMNS, NAMES, bleu, bleu_of_sums, bleu_statistics
from fusion_eval.metrics.bleu import METRIC as BLEU
from fusion_eval.metrics.diversity import METRIC as DIVERSITY
from fusion_eval.metrics.diversity import SELF_BLEU, self_bleu
from fusion_eval.metrics.rouge_l import longest_common_subsequence, rouge_l, rouge_l_of_tokens
from fusion_eval.ngrams import NgramTable
from hypothesis import given, settings
from hypothesis import strategies as st

words = st.sampled_from(["a", "dog", "barks", "rain", "falls", "loudly", "and"])
caption = st.lists(words, max_size=9)
clips = st.lists(st.tuples(caption, st.lists(caption, min_size=1, max_size=4)), min_size=1, max_size=6)


def _grams(tokens, order):
    return Counter(tuple(tokens[start : start + order]) for start in range(len(tokens) - order + 1))


def _bleu_by_definition(pairs, order):
    """Return BLEU of some clips together, from sums of counts."""
    matches, grams = [0] * order, [0] * order
    length = reference_length = 0
    for candidate, references in pairs:
        length += len(candidate)
        reference_length += min((abs(len(one) - len(candidate)), len(one)) for one in references)[1]
        for k in range(1, order + 1):
            own = _grams(candidate, k)
            grams[k - 1] += sum(own.values())
            matches[k - 1] += sum(min(n, max(_grams(one, k)[gram] for one in references)) for gram, n in own.items())
    product = math.prod((match + 1e-15) / (total + 1e-9) for match, total in zip(matches, grams, strict=True))
    ratio = (length + 1e-15) / (reference_length + 1e-9)
    return product ** (1 / order) * (math.exp(1 - 1 / ratio) if ratio < 1 else 1)


def _common_by_definition(first, second):
    for size in range(min(len(first), len(second)), 0, -1):
        if set(combinations(first, size)) & set(combinations(second, size)):
            return size
    return 0


def _statistics(pairs):
    return bleu_statistics([pair[0] for pair in pairs], [pair[1] for pair in pairs])


def _scores(pairs):
    return bleu_of_sums(_statistics(pairs))


@given(clips)
def test_bleu_is_that_of_the_definition(data):
    statistics_CF = bleu_statistics([pair[0] for pair in data], [pair[1] for pair in data])
    corpus, per_clip = bleu_of_sums(statistics_CF.sum(axis=0)), bleu_of_sums(statistics_CF)
    for order, name in enumerate(NAMES, start=1):
        assert corpus[name] == pytest.approx(_bleu_by_definition(data, order), rel=1e-12, abs=1e-300)
        wanted = [_bleu_by_definition([pair], order) for pair in data]
        assert per_clip[name].tolist() == pytest.approx(wanted, rel=1e-12, abs=1e-300)


@given(caption, caption)
def test_the_longest_common_subsequence_is_the_longest(first, second):
    assert longest_common_subsequence(first, second) == _common_by_definition(first, second)


@given(clips)
def test_rouge_l_is_that_of_the_definition(data):
    wanted = []
    for candidate, references in data:
        common = [_common_by_definition(candidate, one) for one in references]
        precision = max(common) / len(candidate) if candidate else 0
        recall = max(hit / len(one) if one else 0 for hit, one in zip(common, references, strict=True))
        both = precision and recall
        wanted.append(2.44 * precision * recall / (recall + 1.44 * precision) if both else 0)
    scores = rouge_l_of_tokens([pair[0] for pair in data], [pair[1] for pair in data])
    assert scores == pytest.approx(wanted, abs=1e-12)


@given(clips, st.randoms(use_true_random=False))
def test_the_order_of_clips_and_of_references_does_not_matter(data, random):
    order = random.sample(range(len(data)), len(data))
    shuffled = [(data[i][0], random.sample(data[i][1], len(data[i][1]))) for i in order]
    assert _statistics(shuffled).tolist() == _statistics(data)[order].tolist()
    rouge = rouge_l_of_tokens(*zip(*data, strict=True))
    assert rouge_l_of_tokens(*zip(*shuffled, strict=True)) == [rouge[i] for i in order]


@given(clips)
def test_a_reference_that_is_given_twice_changes_nothing(data):
    twice = [(candidate, references + references[:1]) for candidate, references in data]
    assert _statistics(twice).tolist() == _statistics(data).tolist()
    assert rouge_l_of_tokens(*zip(*twice, strict=True)) == rouge_l_of_tokens(*zip(*data, strict=True))


@given(clips)
def test_doubling_the_clips_leaves_the_corpus_values(data):
    once = bleu_statistics(*zip(*data, strict=True)).sum(axis=0)
    twice = bleu_statistics(*zip(*data, *data, strict=True)).sum(axis=0)
    assert twice.tolist() == (2 * once).tolist()


@given(clips)
def test_scores_lie_between_zero_and_one(data):
    for values in _scores(data).values():
        assert all(0 <= value <= 1 for value in values)
    assert all(0 <= value <= 1 + 1e-12 for value in rouge_l_of_tokens(*zip(*data, strict=True)))


@given(st.lists(words, min_size=4, max_size=9), st.integers(1, 4))
def test_a_caption_equal_to_all_references_scores_one(tokens, copies):
    pair = (tokens, [tokens] * copies)
    assert [values.item() for values in _scores([pair]).values()] == pytest.approx([1] * 4, abs=1e-8)
    assert rouge_l_of_tokens([tokens], [[tokens] * copies]) == pytest.approx([1], abs=1e-12)


@given(clips, st.lists(st.integers(0, 5), min_size=1, max_size=8))
def test_sums_of_statistics_are_the_statistics_of_the_resampled_clips(data, chosen):
    picks = [index % len(data) for index in chosen]
    resampled = [data[index] for index in picks]
    weights_RC = np.stack([np.bincount(picks, minlength=len(data)), np.ones(len(data))]).astype(float)
    sums_RF = weights_RC @ bleu_statistics(*zip(*data, strict=True))
    for order, name in enumerate(NAMES, start=1):
        wanted = [_bleu_by_definition(resampled, order), _bleu_by_definition(data, order)]
        assert bleu_of_sums(sums_RF)[name].tolist() == pytest.approx(wanted, rel=1e-12, abs=1e-300)


@given(st.lists(caption, max_size=5), st.lists(caption, max_size=5))
@settings(max_examples=50)
def test_a_table_finds_the_ngrams_that_it_holds(known, others):
    table = NgramTable(known, 4)
    for order, (found, all_of_them, size) in enumerate(
        zip(table.find(others), table.encode(others), table.sizes(), strict=True), start=1
    ):
        held = all_of_them.gram < size
        assert found.owner.tolist() == all_of_them.owner[held].tolist(), order
        assert found.gram.tolist() == all_of_them.gram[held].tolist(), order


def test_captions_are_taken_as_people_write_them():
    references = [["A dog barks at a car."], ["Rain falls!"]]
    assert bleu(["a DOG barks at a car", "rain"], references) == bleu(["A dog, barks at a car.", "Rain?"], references)
    assert rouge_l(["a DOG barks", "rain"], references)[1] == rouge_l(["A dog barks!", "Rain."], references)[1]


def test_empty_captions_and_references_score_nothing():
    corpus, per_clip = bleu(["", "a dog"], [["a dog barks"], [""]])
    assert all(values[0] == 0 for values in per_clip.values())
    assert corpus["bleu_1"] < 1e-12
    assert rouge_l(["", "a dog", ""], [["a dog"], [""], [""]]) == (0.0, [0.0, 0.0, 0.0])
    assert bleu([""], [[""]])[1]["bleu_4"] == [0.0]


def test_a_huge_caption_is_scored():
    huge = "rain falls on the roof " * 90_000
    precision = 2 / 450_000
    wanted = 2.44 * precision / (1 + 1.44 * precision)
    assert rouge_l([huge], [["rain falls", "a dog barks"]])[0] == pytest.approx(wanted)
    assert bleu([huge], [["rain falls", "a dog barks"]])[1]["bleu_1"][0] == pytest.approx(precision)


@given(st.lists(st.tuples(st.text(), st.lists(st.text(), min_size=1, max_size=3)), min_size=1, max_size=4))
@settings(max_examples=50)
def test_any_text_has_scores(data):
    captions, references = [pair[0] for pair in data], [pair[1] for pair in data]
    values = [value for column in bleu(captions, references)[1].values() for value in column]
    assert all(0 <= value <= 1 + 1e-12 for value in [*values, *rouge_l(captions, references)[1]])
    clips = ScoredClips([str(number) for number in range(len(data))], captions, references)
    assert all(math.isfinite(value) for value in DIVERSITY.compute(clips).corpus.values())


def test_ten_thousand_clips_score_as_each_does_alone():
    captions = [f"a dog barks {number % 7} times \0 \N{DOG FACE}" for number in range(10_000)]
    references = [[f"a dog barks {number % 5} times", "the dog is barking"] for number in range(10_000)]
    per_clip = bleu(captions, references)[1]["bleu_4"]
    assert per_clip[9_999] == bleu(captions[9_999:], references[9_999:])[1]["bleu_4"][0]
    assert len(rouge_l(captions, references)[1]) == 10_000


@pytest.mark.parametrize("function", [bleu, rouge_l])
@pytest.mark.parametrize(
    ("captions", "references", "message"),
    [
        ([], [], "no captions"),
        (["a"], [["a"], ["b"]], "1 captions but references of 2 clips"),
        (["a", "b"], [["a"], []], "Clip 1 has no references"),
    ],
)
def test_what_does_not_fit_is_refused(function, captions, references, message):
    with pytest.raises(DataError, match=message):
        function(captions, references)


def test_the_metric_keeps_its_statistics():
    values = BLEU.compute(ScoredClips(["1", "2"], ["a dog barks", "rain"], [["a dog barks loudly"], ["rain falls"]]))
    assert values.statistics is not None
    assert values.statistics.names == COLUMNS
    assert values.statistics.values_CF[0].tolist() == [3, 2, 1, 0, 3, 2, 1, 0, 4]
    again = values.statistics.corpus(values.statistics.values_CF.sum(axis=0))
    assert {name: float(value) for name, value in again.items()} == values.corpus


def test_diversity_counts_different_ngrams_words_and_lengths():
    clips = ScoredClips(["1", "2", "3"], ["a dog and a dog", "a", ""], [["x"]] * 3)
    values = DIVERSITY.compute(clips)
    assert values.per_clip["distinct_1"] == [3 / 5, 1, None]
    assert values.per_clip["distinct_2"] == [3 / 4, None, None]
    assert values.corpus == {
        "distinct_1": 0.8,
        "distinct_1_corpus": 3 / 6,
        "distinct_2": 0.75,
        "distinct_2_corpus": 0.75,
        "vocabulary": 3,
        "caption_length": 2,
    }
    assert values.denominator["distinct_1"] == 2
    assert DIVERSITY.compute(ScoredClips(["1"], ["a"], [["x"]])).unavailable["distinct_2"] == "no caption has 2 tokens."


def test_self_bleu_compares_each_candidate_with_the_others():
    alike, unlike = ["a dog barks at a cat"] * 3, ["a dog barks at a cat", "heavy rain is falling on some roof"]
    values = self_bleu([alike, unlike, ["alone"], []])
    assert values[0] == pytest.approx(1, abs=1e-8)
    assert values[1] < 1e-3
    assert values[2:] == [None, None]
    references = [[texts[:place] + texts[place + 1 :]][0] for texts in (alike, unlike) for place in range(len(texts))]
    one_by_one = bleu(alike + unlike, references)[1]["bleu_4"]
    assert values[:2] == pytest.approx([sum(one_by_one[:3]) / 3, sum(one_by_one[3:]) / 2])


def test_self_bleu_without_several_candidates_says_so():
    clips = ScoredClips(["1", "2"], ["a dog", "rain"], [["x"]] * 2, candidates=[["a dog"], []])
    assert "no clip has two candidates" in SELF_BLEU.compute(clips).unavailable["self_bleu"]
    clips = ScoredClips(["1", "2"], ["a", "b"], [["x"]] * 2, candidates=[["a dog barks now"] * 2, ["b"]])
    values = SELF_BLEU.compute(clips)
    assert values.denominator["self_bleu"] == 1
    assert values.per_clip["self_bleu"][1] is None
