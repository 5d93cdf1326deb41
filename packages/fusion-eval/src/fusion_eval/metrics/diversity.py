"""How varied captions are, whatever they are compared with: distinct n-grams, vocabulary, length, self-BLEU.

- distinct-n: the number of different n-grams of a caption over the number of its n-grams, as the mean of the captions
  that have any; ``distinct_n_corpus`` takes the n-grams of all captions together (Li et al., "A Diversity-Promoting
  Objective Function for Neural Conversation Models", NAACL 2016).
- vocabulary: the number of different tokens in all captions; caption length: the mean number of tokens.
- self-BLEU: BLEU-4 of each candidate of a clip against the clip's other candidates, averaged over the candidates and
  then over the clips that have at least two (Zhu et al., "Texygen", SIGIR 2018). High values say that the candidates
  are alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from pydantic import JsonValue

from fusion_eval.metrics.base import Metric, MetricValues, ScoredClips
from fusion_eval.metrics.bleu import ORDER, bleu_of_sums, bleu_statistics
from fusion_eval.ngrams import Tokens
from fusion_eval.tokenize import tokenize_all

ORDERS = (1, 2)


def self_bleu(candidates: Sequence[Sequence[str]]) -> list[float | None]:
    """Return the self-BLEU of each clip's candidates, from captions as people write them.

    A clip with fewer than two candidates has none.
    """
    tokens = [tokenize_all(texts) for texts in candidates]
    several = [texts for texts in tokens if len(texts) > 1]
    captions = list(chain.from_iterable(several))
    others = [texts[:place] + texts[place + 1 :] for texts in several for place in range(len(texts))]
    scores = iter(bleu_of_sums(bleu_statistics(captions, others))[f"bleu_{ORDER}"].tolist())
    return [sum(next(scores) for _ in texts) / len(texts) if len(texts) > 1 else None for texts in tokens]


def _grams(tokens: Tokens, order: int) -> list[tuple[str, ...]]:
    return list(zip(*(tokens[start:] for start in range(order)), strict=False))


def _diversity(clips: ScoredClips) -> MetricValues:
    captions = clips.caption_tokens
    corpus: dict[str, float] = {}
    denominator: dict[str, int] = {}
    per_clip: dict[str, list[float | None]] = {}
    definition: dict[str, dict[str, JsonValue]] = {}
    unavailable: dict[str, str] = {}
    for order in ORDERS:
        name = f"distinct_{order}"
        grams = [_grams(tokens, order) for tokens in captions]
        total = sum(map(len, grams))
        if not total:
            unavailable |= dict.fromkeys((name, f"{name}_corpus"), f"no caption has {order} tokens.")
            continue
        shares = [len(set(own)) / len(own) if own else None for own in grams]
        applying = [share for share in shares if share is not None]
        per_clip[name] = shares
        corpus[name] = sum(applying) / len(applying)
        corpus[f"{name}_corpus"] = len(set(chain.from_iterable(grams))) / total
        denominator |= {name: len(applying), f"{name}_corpus": total}
        definition[name] = {"n": order, "over": f"captions of at least {order} tokens"}
        definition[f"{name}_corpus"] = {"n": order, "over": "n-grams of all captions"}
    lengths = [float(len(tokens)) for tokens in captions]
    return MetricValues(
        corpus=corpus
        | {
            "vocabulary": float(len(set(chain.from_iterable(captions)))),
            "caption_length": sum(lengths) / len(lengths),
        },
        denominator=denominator | dict.fromkeys(("vocabulary", "caption_length"), len(captions)),
        per_clip=per_clip | {"caption_length": list(lengths)},
        definition=definition
        | {
            "vocabulary": {"unit": "different tokens", "over": "clips"},
            "caption_length": {"unit": "tokens", "over": "clips"},
        },
        unavailable=unavailable,
    )


def _self_bleu(clips: ScoredClips) -> MetricValues:
    per_clip = self_bleu(clips.candidates or [[] for _ in clips.ids])
    applying = [value for value in per_clip if value is not None]
    if not applying:
        return MetricValues({}, {}, {}, {}, unavailable={"self_bleu": "no clip has two candidates; keep more of them."})
    return MetricValues(
        corpus={"self_bleu": sum(applying) / len(applying)},
        denominator={"self_bleu": len(applying)},
        per_clip={"self_bleu": per_clip},
        definition={"self_bleu": {"n": ORDER, "over": "clips with at least two candidates"}},
    )


METRIC = Metric("diversity", "distinct n-grams, vocabulary and length of the captions", _diversity)
SELF_BLEU = Metric("self_bleu", "likeness of a clip's candidates to one another", _self_bleu, needs_candidates=True)
