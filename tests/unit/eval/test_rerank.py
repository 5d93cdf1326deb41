"""The reranker chooses by its own formula, never by references, and is tuned on validation splits alone."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from fusion_eval import cider_d
from fusion_eval.errors import ConfigError, DataError
from fusion_eval.metrics.cider_d import CiderD
from fusion_eval.metrics.document_frequency import DocumentFrequency
from fusion_eval.reranking import candidate_features, parse_weights, rerank
from fusion_eval.schemas.predictions import Candidate, Predictions
from fusion_eval.schemas.references import References
from fusion_eval.schemas.rerank import RerankWeights, TunedWeights
from fusion_eval.tokenize import tokenize, tokenize_all
from fusion_eval.tuning import tune_rerank
from hypothesis import given, settings
from hypothesis import strategies as st

TEXTS = ["a dog barks", "a dog barks twice", "rain falls", "a man speaks while rain falls", "the dog is barking", ""]


def _predictions(clips: list[list[Candidate]], split: str = "val") -> Predictions:
    return Predictions.model_validate(
        {
            "dataset": "demo",
            "split": split,
            "system": "mine",
            "items": [
                {"id": str(number), "caption": clip[0].text if clip else "", "candidates": clip or None}
                for number, clip in enumerate(clips)
            ],
        }
    )


def _references(texts: list[list[str]], split: str = "val") -> References:
    items = [{"id": str(number), "references": captions} for number, captions in enumerate(texts)]
    return References.model_validate({"dataset": "demo", "split": split, "items": items})


CLIPS = [
    [Candidate(text=text, logprob=-1.0 - number, similarity=0.1 * number) for number, text in enumerate(TEXTS[:3])],
    [Candidate(text=text, logprob=-2.0, similarity=0.5 - 0.1 * number) for number, text in enumerate(TEXTS[2:6])],
]


def test_no_reference_reaches_the_reranker():
    assert "references" not in inspect.signature(rerank).parameters
    assert "references" not in inspect.signature(candidate_features).parameters


def test_consensus_is_the_mean_cider_d_against_the_other_candidates():
    features = candidate_features(CLIPS)
    texts = [[tokenize(one.text) for one in clip] for clip in CLIPS]
    frequency = DocumentFrequency.from_references(texts)
    expected = []
    for clip in texts:
        for own, tokens in enumerate(clip):
            others = [[other] for place, other in enumerate(clip) if place != own]
            gains = CiderD(others, frequency).score([tokens] * len(others))
            expected.append(gains.mean())
    assert features.consensus_Y == pytest.approx(expected, abs=1e-12)


def test_each_weight_alone_follows_its_feature():
    features = candidate_features(CLIPS)
    texts = [one.text for clip in CLIPS for one in clip]
    assert [texts[i] for i in features.choose(RerankWeights(logprob=1, length_exponent=0))] == [TEXTS[0], TEXTS[2]]
    assert [texts[i] for i in features.choose(RerankWeights(logprob=0, similarity=1))] == [TEXTS[2], TEXTS[2]]
    # With γ = 1 the longest of equally probable candidates has the highest log-probability a word.
    assert texts[features.choose(RerankWeights(logprob=1, length_exponent=1))[1]] == TEXTS[3]


def test_reranked_predictions_keep_ids_candidates_and_clips_without_candidates():
    before = _predictions([*CLIPS, []])
    after = rerank(before, RerankWeights(logprob=0, similarity=1))
    assert [item.caption for item in after.items] == [TEXTS[2], TEXTS[2], ""]
    assert [item.candidates for item in after.items] == [item.candidates for item in before.items]
    assert after.system == "mine reranked"
    assert Predictions.model_validate_json(after.canonical_bytes()) == after


def test_an_only_candidate_has_no_consensus_and_is_chosen():
    after = rerank(_predictions([[Candidate(text="a dog barks")]]), RerankWeights(logprob=0, consensus=1))
    assert after.items[0].caption == "a dog barks"


def test_missing_features_and_candidates_are_refused():
    bare = _predictions([[Candidate(text="a"), Candidate(text="b")]])
    with pytest.raises(DataError, match="no logprob"):
        rerank(bare, RerankWeights())
    with pytest.raises(DataError, match="no similarity"):
        rerank(bare, RerankWeights(logprob=0, similarity=1))
    with pytest.raises(DataError, match="no candidates"):
        rerank(_predictions([[]]), RerankWeights())


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=4), min_size=1, max_size=4), st.randoms())
def test_order_of_clips_does_not_matter(texts, random):
    clips = [[Candidate(text=text) for text in clip] for clip in texts]
    order = list(range(len(clips)))
    random.shuffle(order)
    weights = RerankWeights(logprob=0, consensus=1)
    straight = [item.caption for item in rerank(_predictions(clips), weights).items]
    shuffled = [item.caption for item in rerank(_predictions([clips[place] for place in order]), weights).items]
    assert [straight[place] for place in order] == shuffled


REFERENCES = [["rain falls", "rain is falling"], ["a dog is barking", "the dog is barking loudly"]]


def test_tuning_reports_what_its_weights_really_give():
    predictions, references = _predictions(CLIPS), _references(REFERENCES)
    tuned = tune_rerank(predictions, references)
    captions = [item.caption for item in rerank(predictions, tuned.weights).items]
    assert tuned.after == pytest.approx(cider_d(captions, REFERENCES)[0], abs=1e-12)
    assert tuned.before == pytest.approx(
        cider_d([item.caption for item in predictions.items], REFERENCES)[0], abs=1e-12
    )
    scorer = CiderD([tokenize_all(texts) for texts in REFERENCES])
    best = [max(scorer.score([tokenize(one.text)], [place])[0] for one in clip) for place, clip in enumerate(CLIPS)]
    assert tuned.oracle == pytest.approx(np.mean(best), abs=1e-12)
    assert tuned.before <= tuned.after <= tuned.oracle
    assert tuned.cross_validated <= tuned.after + 1e-12
    assert TunedWeights.model_validate_json(tuned.canonical_bytes()) == tuned


@pytest.mark.parametrize("split", ["test", "train", "evaluation", "official"])
def test_weights_are_not_tuned_on_another_split(split):
    with pytest.raises(ConfigError, match="validation split"):
        tune_rerank(_predictions(CLIPS, split), _references(REFERENCES, split))


def test_tuning_refuses_clips_without_candidates_and_unknown_metrics():
    with pytest.raises(DataError, match="clip '1' has no candidates"):
        tune_rerank(_predictions([CLIPS[0], []]), _references(REFERENCES))
    with pytest.raises(ConfigError, match="cider_d or spider"):
        tune_rerank(_predictions(CLIPS), _references(REFERENCES), metric="bleu")


def test_tuning_may_leave_out_clips_without_a_prediction():
    references = _references([*REFERENCES, ["a bell rings"]])
    with pytest.raises(DataError, match="id '2' is missing"):
        tune_rerank(_predictions(CLIPS), references)
    tuned = tune_rerank(_predictions(CLIPS), references, allow_missing=True)
    assert (tuned.n, tuned.missing) == (2, ("2",))
    whole = tune_rerank(_predictions(CLIPS), _references(REFERENCES))
    assert (tuned.weights, tuned.after, tuned.oracle) == (whole.weights, whole.after, whole.oracle)
    with pytest.raises(DataError, match="no clip of the references has one"):
        tune_rerank(_predictions([]), references, allow_missing=True)


def test_weights_are_read_from_pairs_and_files(tmp_path):
    assert parse_weights("consensus=0.3, logprob=2") == RerankWeights(logprob=2, consensus=0.3)
    assert parse_weights("similarity=1") == RerankWeights(logprob=0, similarity=1)
    assert parse_weights(None) == RerankWeights(logprob=0, consensus=1)
    tuned = tune_rerank(_predictions(CLIPS), _references(REFERENCES))
    tuned.write(tmp_path / "weights.json")
    assert parse_weights(str(tmp_path / "weights.json")) == tuned.weights
    with pytest.raises(ConfigError, match="consensus"):
        parse_weights("consensos=1")
    with pytest.raises(ConfigError, match="greater than or equal to 0"):
        parse_weights("consensus=-1")
    with pytest.raises(DataError, match="does not exist"):
        parse_weights(str(tmp_path / "none.json"))
