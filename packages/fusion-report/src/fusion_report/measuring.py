"""Values, intervals and paired differences of groups of runs, kept by the hash of what they come from.

Ten thousand resamples of every system take seconds, so what was resampled once is kept in the user's cache: the key is the
SHA-256 of the scores files, the metrics, the resampling and the versions that decide its numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Literal, TypeVar

from fusion_eval.bootstrap import RESAMPLES, SummedValues, bootstrap, means, uncertainty
from fusion_eval.comparing_scores import FEWEST_CLIPS, compare_scores, measure_scores
from fusion_eval.errors import DataError
from fusion_eval.files import cache_dir
from fusion_eval.ngrams import Floats
from fusion_eval.schemas import Schema, Scores
from fusion_eval.schemas.comparison import Comparison, SystemValue
from pydantic import Field

from fusion_report.groups import Group
from fusion_report.results import Run
from fusion_report.table import Cell, difference, empty, measured

AnySchema = TypeVar("AnySchema", bound=Schema)
NOT_IN_STUDY = "The study has no such run."


class _Values(Schema):
    schema_: Literal["fusion.measured-values/1"] = Field(default="fusion.measured-values/1", alias="schema")
    values: dict[str, SystemValue]


class Measuring:
    """Measures groups of runs.

    Args:
        resamples: of the bootstrap over clips.
        seed: of the resamples.
        cache: a folder that keeps what was resampled; by default in the user's cache.
    """

    def __init__(self, resamples: int = RESAMPLES, seed: int = 0, cache: Path | None = None) -> None:
        self.resamples, self.seed = resamples, seed
        self.cache = cache or cache_dir() / "report"
        self._digests: dict[int, tuple[Scores, str]] = {}

    def values(self, files: Sequence[Scores], names: Sequence[str]) -> dict[str, SystemValue]:
        """Return the values of one system, its files one a seed.

        Raises:
            DataError: there is no file, or the files are about different clips.
        """

        def compute() -> _Values:
            return _Values(values=measure_scores(files, names, self.resamples, self.seed))

        return self._kept(_Values, ("values", files, (), names), compute).values

    def comparison(self, a: Sequence[Scores], b: Sequence[Scores], names: Sequence[str]) -> Comparison:
        """Return the paired differences a - b of two systems.

        Raises:
            DataError: a side has no file, or the sides are about different clips.
        """

        def compute() -> Comparison:
            return compare_scores(a, b, names, self.resamples, self.seed)

        return self._kept(Comparison, ("comparison", a, b, names), compute)

    def _kept(
        self,
        model: type[AnySchema],
        what: tuple[str, Sequence[Scores], Sequence[Scores], Sequence[str]],
        compute: Callable[[], AnySchema],
    ) -> AnySchema:
        kind, a, b, names = what
        content = json.dumps(
            [
                kind,
                [self._digest(one) for one in a],
                [self._digest(one) for one in b],
                list(names),
                [self.resamples, self.seed, version("fusion-eval"), version("numpy")],
            ]
        )
        path = self.cache / f"{hashlib.sha256(content.encode()).hexdigest()}.json"
        try:
            return model.read(path)
        except DataError:  # not kept yet, or cut off
            found = compute()
            found.write(path)
            return found

    def _digest(self, scores: Scores) -> str:
        """Return the hash of a file, computed once while it is held."""
        if id(scores) not in self._digests:
            self._digests[id(scores)] = scores, scores.sha256()
        return self._digests[id(scores)][1]


def interval_of_mean(values_C: Floats) -> tuple[float, float]:
    """Return the 95% interval of a mean over clips: BCa where it exists, else percentiles; the mean itself of one clip."""
    mean = float(values_C.mean())
    if len(values_C) < FEWEST_CLIPS:
        return mean, mean
    spread = uncertainty(bootstrap([SummedValues(("mean",), (means(("mean",), values_C[:, None]),))])[0]["mean"])
    return (spread.bca or spread.percentile) if spread is not None else (mean, mean)


def scores_of(group: Group, condition: str = "audio") -> list[tuple[Run, Scores]]:
    """Return the scores of the seeds that have them."""
    found = []
    for run in group.runs:
        try:
            found.append((run, run.scores(condition)))
        except DataError:
            continue
    return found


def lacking(group: Group, condition: str = "audio") -> str | None:
    """Return why some seeds of a group have no scores, in one line; None where all have."""
    return " ".join(_sentence(reason) for reason in group.lacking(lambda run: run.scores(condition))) or None


def value_cells(measuring: Measuring, group: Group, names: Sequence[str], condition: str = "audio") -> dict[str, Cell]:
    """Return a cell a metric: mean over the seeds, deviation over them, interval over the clips."""
    found = scores_of(group, condition)
    reason = lacking(group, condition)
    if not found:
        return {name: empty(reason or NOT_IN_STUDY) for name in names}
    sources = [run.place(f"scores/{condition}.json") for run, _ in found]
    files = [scores for _, scores in found]
    try:
        values = measuring.values(files, names)
    except DataError as error:
        return {name: empty(str(error)) for name in names}
    return {
        name: measured(values[name], sources, reason) if name in values else empty(_unavailable(files, name))
        for name in names
    }


def difference_cell(
    measuring: Measuring,
    group: Group,
    other: Group | None,
    metric: str,
    conditions: tuple[str, str] = ("audio", "audio"),
) -> Cell:
    """Return a cell with the paired difference of one group to another, over the clips and seeds that both have."""
    if other is None:
        return empty("The study has no run to compare with.")
    if other is group and conditions[0] == conditions[1]:
        return empty("This row is what the others are compared with.")
    pairs = scores_of(group, conditions[0]), scores_of(other, conditions[1])
    for side, (which, condition) in zip(pairs, zip((group, other), conditions, strict=True), strict=True):
        if not side:
            return empty(lacking(which, condition) or NOT_IN_STUDY)
    a, b = _same_seeds(*pairs)
    sources = [
        run.place(f"scores/{condition}.json")
        for side, condition in zip((a, b), conditions, strict=True)
        for run, _ in side
    ]
    try:
        found = measuring.comparison([one for _, one in a], [one for _, one in b], [metric])
    except DataError as error:
        return empty(str(error))
    if metric not in found.metrics:
        return empty(_unavailable([one for _, one in (*a, *b)], metric))
    return difference(found.metrics[metric].difference, sources)


def _same_seeds(
    a: list[tuple[Run, Scores]], b: list[tuple[Run, Scores]]
) -> tuple[list[tuple[Run, Scores]], list[tuple[Run, Scores]]]:
    """Return both sides with the seeds that they share; all of them where they share none."""
    shared = {run.entry.seed for run, _ in a} & {run.entry.seed for run, _ in b}
    if not shared:
        return a, b
    first, second = ([pair for pair in side if pair[0].entry.seed in shared] for side in (a, b))
    return first, second


def _unavailable(files: Sequence[Scores], metric: str) -> str:
    reasons = dict.fromkeys(one.unavailable[metric] for one in files if metric in one.unavailable)
    if reasons:
        return " ".join(_sentence(reason) for reason in reasons)
    return f"The scores do not have {metric}."


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
