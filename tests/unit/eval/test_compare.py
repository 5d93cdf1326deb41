"""Comparisons: what is resampled and what is not, seeds, the order of clips and sides, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from fusion_eval import comparing
from fusion_eval.comparing import compare
from fusion_eval.errors import ConfigError, DataError
from fusion_eval.metrics.base import Metric, MetricValues, Resources
from fusion_eval.schemas import Candidate, PredictionItem, Predictions, ReferenceItem, References
from fusion_eval.schemas.comparison import Comparison
from fusion_eval.scoring import score

CLIPS = 24
WORDS = ["a", "dog", "barks", "while", "rain", "falls", "on", "the", "roof", "and", "bell", "rings"]
METRICS = ["bleu_4", "rouge_l", "cider_d", "distinct_1", "vocabulary"]


def _sentences(seed: int, count: int) -> list[str]:
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(WORDS, size=generator.integers(2, 9))) for _ in range(count)]


@pytest.fixture(scope="module")
def truth() -> References:
    return References(
        dataset="demo",
        split="test",
        items=tuple(ReferenceItem(id=f"c{clip}", references=tuple(_sentences(clip, 4))) for clip in range(CLIPS)),
    )


def _system(name: str, seed: int, run_id: str | None = None, likeness: float = 0.0) -> Predictions:
    """Random captions, of which a share is the clip's first reference."""
    same = np.random.default_rng([seed, 1]).random(CLIPS) < likeness
    captions = _sentences(1000 + seed, CLIPS)
    items = tuple(
        PredictionItem(id=f"c{clip}", caption=_sentences(clip, 4)[0] if same[clip] else captions[clip])
        for clip in range(CLIPS)
    )
    return Predictions(dataset="demo", split="test", system=name, run_id=run_id, items=items)


@pytest.fixture(scope="module")
def found(truth) -> Comparison:
    return compare([_system("good", 1, likeness=0.5)], [_system("bad", 2)], truth, METRICS, resamples=500)


def test_values_are_those_of_scoring(found, truth):
    for side, system in (("a", _system("good", 1, likeness=0.5)), ("b", _system("bad", 2))):
        values = {name: getattr(one, side).value for name, one in found.metrics.items()}
        assert values == pytest.approx(score(system, truth, METRICS).metrics, rel=1e-12)


def test_a_better_system_is_found_better(found):
    for name in ("bleu_1", "bleu_4", "rouge_l", "cider_d"):
        difference = found.metrics[name].difference
        assert difference.value > 0
        assert difference.spread.percentile.low > 0
        assert difference.spread.bca.low > 0
        assert difference.p < 0.05
        assert difference.p_sign_flip < 0.05
        assert sum(difference.histogram.counts) == 500


def test_what_is_no_sum_over_clips_has_values_and_the_reason_why_it_has_no_interval(found):
    one = found.metrics["vocabulary"]
    assert one.a.value == pytest.approx(len(WORDS), abs=2)
    assert "cannot be resampled" in one.reason
    assert one.difference.spread is one.difference.p is one.difference.histogram is None
    assert found.metrics["cider_d"].reason is None


def test_the_file_says_what_was_done_and_reads_back_as_it_was(found, tmp_path):
    found.write(tmp_path / "comparison.json")
    assert Comparison.read(tmp_path / "comparison.json") == found
    assert (found.n, found.resamples, found.seed, found.confidence) == (CLIPS, 500, 0, 0.95)
    assert "document frequencies of CIDEr-D" in found.method["corpus_values"]
    assert found.definition["cider_d"]["df"] == "scored references"
    assert {"numpy", "fusion_eval"} <= set(found.tools)


def test_equal_seeds_give_equal_bytes_and_other_seeds_other_intervals(found, truth):
    systems = [_system("good", 1, likeness=0.5)], [_system("bad", 2)]
    assert compare(*systems, truth, METRICS, resamples=500).sha256() == found.sha256()
    other = compare(*systems, truth, METRICS, resamples=500, seed=1).metrics["cider_d"].difference
    assert other.value == found.metrics["cider_d"].difference.value
    assert other.spread.bca != found.metrics["cider_d"].difference.spread.bca


def _numbers(comparison: Comparison, sign: float = 1.0) -> dict[str, list[float]]:
    numbers = {}
    for name, one in comparison.metrics.items():
        difference = one.difference
        if difference.spread is None:
            continue
        ends = [
            end
            for interval in (difference.spread.percentile, difference.spread.bca)
            for end in sorted((sign * interval.low, sign * interval.high))
        ]
        numbers[name] = [sign * difference.value, *ends, difference.spread.standard_error, difference.p]
        numbers[name].append(difference.p_sign_flip)
    return numbers


def _assert_close(first, second):
    assert first.keys() == second.keys()
    for name, numbers in first.items():
        assert numbers == pytest.approx(second[name], rel=1e-9, abs=1e-12), name


def test_the_order_of_clips_and_of_their_references_does_not_matter(found, truth):
    generator = np.random.default_rng(3)
    items = [
        item.model_copy(update={"references": tuple(generator.permutation(item.references).tolist())})
        for item in truth.items
    ]
    shuffled = truth.model_copy(update={"items": tuple(items[clip] for clip in generator.permutation(CLIPS))})
    a, b = _system("good", 1, likeness=0.5), _system("bad", 2)
    a = a.model_copy(update={"items": a.items[::-1]})
    _assert_close(_numbers(compare([a], [b], shuffled, METRICS, resamples=500)), _numbers(found))


def test_exchanging_the_sides_changes_the_signs_and_nothing_else(found, truth):
    swapped = compare([_system("bad", 2)], [_system("good", 1, likeness=0.5)], truth, METRICS, resamples=500)
    _assert_close(_numbers(swapped, sign=-1), _numbers(found))
    assert [file.system for file in swapped.a] == ["bad"]


def test_other_metrics_beside_do_not_change_a_metric(found, truth):
    alone = compare([_system("good", 1, likeness=0.5)], [_system("bad", 2)], truth, ["cider_d"], resamples=500)
    assert _numbers(alone)["cider_d"] == pytest.approx(_numbers(found)["cider_d"], rel=1e-9)


def test_several_seeds_are_averaged_by_clip_and_their_spread_stands_apart(truth):
    seeds = [_system("good", seed, run_id=str(seed), likeness=0.4) for seed in range(3)]
    several = compare(seeds, [_system("bad", 9)], truth, ["cider_d", "bleu_2"], resamples=300)
    alone = [score(one, truth, ["cider_d"]).metrics["cider_d"] for one in seeds]
    value = several.metrics["cider_d"].a
    assert value.seeds.values == pytest.approx(alone)
    assert value.seeds.mean == pytest.approx(np.mean(alone))
    assert value.seeds.stdev == pytest.approx(np.std(alone, ddof=1))
    assert value.value == pytest.approx(np.mean(alone))
    assert several.metrics["cider_d"].b.seeds.stdev is None
    assert several.metrics["bleu_2"].a.value == pytest.approx(several.metrics["bleu_2"].a.seeds.mean, abs=0.02)
    singles = [compare([one], [_system("bad", 9)], truth, ["cider_d"], resamples=300) for one in seeds]
    errors = [one.metrics["cider_d"].a.spread.standard_error for one in singles]
    assert value.spread.standard_error < max(errors)
    assert [file.run_id for file in several.a] == ["0", "1", "2"]


def test_equal_systems_have_p_one(truth):
    same = compare([_system("x", 1)], [_system("y", 1)], truth, METRICS, resamples=200)
    for name in ("bleu_1", "cider_d", "rouge_l"):
        difference = same.metrics[name].difference
        assert (difference.value, difference.p, difference.p_sign_flip) == (0, 1, 1)
        assert (difference.spread.bca.low, difference.spread.bca.high) == (0, 0)


def test_ratios_over_classes_have_intervals(references, predictions, events):
    other = predictions.model_copy(update={"system": "other", "items": predictions.items[::-1]})
    scenes = compare([predictions], [other], references, ["event_f1", "count_accuracy"], events=events, resamples=200)
    assert set(scenes.metrics) >= {"event_f1", "event_f1_micro", "event_precision", "event_recall", "count_accuracy"}
    assert all(one.reason is None for one in scenes.metrics.values())
    assert scenes.events_sha256 == events.sha256()


def test_missing_captions_are_refused_or_declared(truth):
    part = _system("part", 3)
    part = part.model_copy(update={"items": part.items[2:]})
    with pytest.raises(DataError, match="missing"):
        compare([part], [_system("bad", 2)], truth, resamples=100)
    allowed = compare([part], [_system("bad", 2)], truth, allow_missing=True, resamples=100)
    assert allowed.a[0].missing == ("c0", "c1")
    assert allowed.n == CLIPS


def _with_candidates(system: Predictions) -> Predictions:
    items = [
        item.model_copy(update={"candidates": tuple(Candidate(text=text) for text in (item.caption, "a dog"))})
        for item in system.items
    ]
    return system.model_copy(update={"items": tuple(items)})


def test_a_metric_that_one_side_cannot_have_is_unavailable_and_oracles_are_labelled(truth):
    both = [_with_candidates(_system(name, seed)) for seed, name in enumerate("ab")]
    with_oracle = compare(both[:1], both[1:], truth, ["cider_d", "cider_d_max", "self_bleu"], resamples=100)
    assert with_oracle.oracle == ("cider_d_max",)
    assert "self_bleu" in with_oracle.metrics
    single = both[1].model_copy(
        update={"items": tuple(item.model_copy(update={"candidates": item.candidates[:1]}) for item in both[1].items)}
    )
    one_side = compare(both[:1], [single], truth, ["cider_d", "self_bleu"], resamples=100)
    assert list(one_side.metrics) == ["cider_d"]
    assert "two candidates" in one_side.unavailable["self_bleu"]


def test_a_value_that_is_not_what_its_clips_say_has_no_interval(truth, monkeypatch):
    def median(clips):
        lengths = [float(len(caption)) for caption in clips.captions]
        corpus = {"length": float(np.median(lengths)) + 0.5, "mean_length": float(np.mean(lengths))}
        per_clip = {"length": lengths, "mean_length": lengths}
        return MetricValues(corpus, dict.fromkeys(corpus, CLIPS), per_clip, {name: {} for name in corpus})

    original = comparing.evaluate

    def evaluate(alignment, metrics, resources):
        found = original(alignment, metrics, resources)
        found.metrics.append(Metric("length", "", median))
        found.values.append(median(alignment.clips))
        return found

    monkeypatch.setattr(comparing, "evaluate", evaluate)
    result = compare([_system("x", 1)], [_system("y", 2)], truth, ["cider_d"], resamples=100)
    assert "cannot be resampled" in result.metrics["length"].reason
    assert result.metrics["mean_length"].reason is None


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"a": []}, DataError, "a: there are no predictions"),
        ({"b": [_system("x", 1), _system("x", 1)]}, DataError, "b: two files hold the same predictions"),
        ({"resamples": 10}, ConfigError, "resamples: 10 are too few"),
        ({"seed": -1}, ConfigError, "seed: -1 is negative"),
        ({"metrics": ["blue"]}, ConfigError, "no metric 'blue'"),
        ({"resources": Resources(columns={"spice": [0.0]})}, ConfigError, "Columns hold the values of one system"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_sentence(truth, change, error, sentence):
    arguments = {"a": [_system("a", 1)], "b": [_system("b", 2)], "references": truth} | change
    with pytest.raises(error, match=sentence):
        compare(**arguments)


def test_one_clip_has_no_spread(truth):
    one = truth.model_copy(update={"items": truth.items[:1]})
    a, b = ([system.model_copy(update={"items": system.items[:1]})] for system in (_system("a", 1), _system("b", 2)))
    with pytest.raises(DataError, match="fewer than two clips"):
        compare(a, b, one)
