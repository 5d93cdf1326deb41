"""What a caption must say: what was scored, on how much, by what, over which seeds, and what is missing and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from fusion_eval.schemas import Scores

from fusion_report.groups import Group
from fusion_report.measuring import scores_of
from fusion_report.metric_names import WANTED, label_of
from fusion_report.study import Study, cards_of

HOW = (
    "Values are means over seeds ± standard deviation (n − 1); in brackets the 95% interval of the bootstrap over clips"
    " ({resamples:,} resamples, BCa where it exists), which says nothing of seeds."
)
PAIRED = (
    "Differences are paired by clip and seed, with the same interval and its two-sided p, not corrected for many tests."
)
_TEMPLATES = (
    "Captions of scenes are templates, not people's words: numbers compare systems with each other and with"
    " nothing else."
)


def scored(study: Study, groups: Sequence[Group], metrics: Sequence[str]) -> tuple[str, ...]:
    """Return the sentences on the test list, its denominator, the seeds, the metrics' versions and what is missing."""
    files = study.files(groups)
    if not files:
        return (f"Nothing has been scored: {_why_nothing(groups)}",)
    return (
        *_test_lists(files),
        _seeds(groups),
        *_precision(groups),
        HOW.format(resamples=study.measuring.resamples),
        _versions(files, metrics),
        *_absent(files, metrics),
        *([_TEMPLATES] if any(one.dataset in ("scenes", "av-scenes") for one in files) else []),
    )


def _why_nothing(groups: Sequence[Group]) -> str:
    reasons = dict.fromkeys(reason for group in groups for reason in group.lacking(lambda run: run.scores()))
    return " ".join(reasons) or "the study has no such run."


def _test_lists(files: Sequence[Scores]) -> list[str]:
    found: dict[tuple[str, str, int, str], set[int]] = {}
    for one in files:
        key = (one.dataset, one.split, one.n, one.references_sha256)
        found.setdefault(key, set()).add(len(one.missing))
    sentences = []
    for (dataset, split, n, digest), missing in found.items():
        lost = (
            ""
            if max(missing) == 0
            else f", of which up to {max(missing):,} without a prediction count as an empty caption"
        )
        sentences.append(f"{dataset} {split}: n = {n:,} clips{lost} (references {digest[:12]}).")
    return sentences


def _seeds(groups: Sequence[Group]) -> str:
    asked = sorted({run.entry.seed for group in groups for run in group.runs})
    lacking = sum(len(group.runs) - len(scores_of(group)) for group in groups)
    short = f"; {lacking} of {sum(len(group.runs) for group in groups)} runs have no scores (notes)" if lacking else ""
    return f"Seeds: {', '.join(map(str, asked))}{short}."


def _precision(groups: Sequence[Group]) -> list[str]:
    """Return what the frozen weights computed in; where runs differ in it, how many in which, as that may be part of a Δ."""
    counts = Counter(card.training.precision for group in groups for _, card in cards_of(group))
    if not counts:
        return []
    if len(counts) == 1:
        return [f"Frozen weights computed in {next(iter(counts))}."]
    shares = ", ".join(f"{runs} in {name}" for name, runs in sorted(counts.items()))
    return [f"Runs differ in what their frozen weights computed in ({shares}), which may be part of a difference."]


def _versions(files: Sequence[Scores], metrics: Sequence[str]) -> str:
    tools = _merged(one.tools for one in files)
    said = ", ".join(f"{name} {version}" for name, version in tools.items())
    settings = _merged(
        {name: _define(one.definition[name]) for name in metrics if name in one.definition} for one in files
    )
    defined = "; ".join(f"{label_of(name)} ({text})" for name, text in settings.items() if text)
    return f"Metrics: {defined or 'as their tools define them'}; {said}."


def _define(settings: Mapping[str, object]) -> str:
    return ", ".join(
        f"{name.replace('_', ' ')} {value}" for name, value in settings.items() if not isinstance(value, dict)
    )


def _merged(parts: Iterable[Mapping[str, str]]) -> dict[str, str]:
    found: dict[str, dict[str, None]] = {}
    for part in parts:
        for name, value in part.items():
            found.setdefault(name, {})[value] = None
    return {name: " and ".join(values) for name, values in found.items()}


def _absent(files: Sequence[Scores], metrics: Sequence[str]) -> list[str]:
    """Return what the plan of the study wants and no file has, with the reason that the files give."""
    reasons: dict[str, list[str]] = {}
    for name in WANTED:
        if name not in metrics:
            given = next((one.unavailable[name] for one in files if name in one.unavailable), "not asked for.")
            reasons.setdefault(given.rstrip("."), []).append(label_of(name))
    return [f"Not reported: {', '.join(names)} ({reason})." for reason, names in reasons.items()]
