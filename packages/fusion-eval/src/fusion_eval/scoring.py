"""Score predictions against references: every metric over the same clips, per clip and for the corpus."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version

from fusion_eval.align import Alignment, align
from fusion_eval.clip_lists import ClipList
from fusion_eval.errors import ConfigError, MissingAssetError
from fusion_eval.metrics.base import Metric, MetricValues, Resources, ScoredClips
from fusion_eval.registry import load_metric, resolve_metrics
from fusion_eval.schemas.events import SceneEvents
from fusion_eval.schemas.predictions import Predictions
from fusion_eval.schemas.references import References
from fusion_eval.schemas.scores import ClipScores, Scores, Statistics

TOKENISER = "fusion_eval, as CoreNLP 3.4.1 PTBTokenizer -preserveLines -lowerCase"


def score(
    predictions: Predictions,
    references: References,
    metrics: Sequence[str] = ("cider_d",),
    events: SceneEvents | None = None,
    allow_missing: bool = False,
    resources: Resources | None = None,
    clip_list: ClipList | None = None,
) -> Scores:
    """Return the scores of a system's captions.

    Args:
        predictions: one caption a clip.
        references: what the clips' captions are compared with; they define the clips and the denominator.
        metrics: names of metrics; «all» takes each that can be had and says of the others why not.
        events: the event graphs of the same split, for the metrics of composed scenes.
        allow_missing: score a clip without a prediction as an empty caption instead of refusing; ``missing`` names it.
        resources: what some metrics need beside the captions.
        clip_list: score these clips alone and all of them, those without a prediction as an empty caption.

    A metric whose tool or weights are absent is named under ``unavailable`` with the reason and the mend; the others
    are not touched by it.

    Raises:
        ConfigError: a metric is unknown, or needs event graphs or candidates that are not given.
        DataError: ids do not fit together; the message names them.
    """
    alignment = align(predictions, references, events, allow_missing, clip_list)
    counted = clip_list.cut(references) if clip_list is not None else references
    found = evaluate(alignment, metrics, resources or Resources())
    return Scores(
        dataset=references.dataset,
        split=references.split,
        system=predictions.system,
        predictions_sha256=predictions.sha256(),
        references_sha256=counted.sha256(),
        events_sha256=events.sha256() if events is not None else None,
        clip_list=clip_list.name if clip_list is not None else None,
        n=len(alignment.clips.ids),
        missing=alignment.missing,
        metrics={name: value for values in found.values for name, value in values.corpus.items()},
        denominator={name: n for values in found.values for name, n in values.denominator.items()},
        unavailable=found.unavailable | {n: why for values in found.values for n, why in values.unavailable.items()},
        oracle=found.oracle,
        per_clip=_per_clip(alignment.clips.ids, found.values),
        statistics=_statistics(found),
        definition={name: settings for values in found.values for name, settings in values.definition.items()},
        tools=_tools(found.values, resources is not None and resources.tokenised),
    )


@dataclass
class Evaluation:
    """The values of some metrics over the same clips, in the order asked for, and why others have none."""

    metrics: list[Metric] = field(default_factory=list)
    values: list[MetricValues] = field(default_factory=list)
    unavailable: dict[str, str] = field(default_factory=dict)

    @property
    def oracle(self) -> tuple[str, ...]:
        """The names of values that chose among candidates by the references."""
        pairs = zip(self.metrics, self.values, strict=True)
        return tuple(name for metric, values in pairs if metric.oracle for name in values.corpus)


def evaluate(alignment: Alignment, metrics: Sequence[str], resources: Resources) -> Evaluation:
    """Compute metrics over joined clips, each once, those that others are made of too.

    Raises:
        ConfigError: a metric is unknown, or needs event graphs or candidates that are not there.
    """
    computed: dict[str, MetricValues | MissingAssetError] = {}

    def part(name: str) -> Sequence[float]:
        values = compute(load_metric(name))
        column = values.per_clip[name]
        return [0.0 if value is None else value for value in column]

    clips = replace(alignment.clips, resources=resources, parts=part)

    def compute(metric: Metric) -> MetricValues:
        if metric.name not in computed:
            tell = resources.telling(metric.name)
            tell(0, len(clips.ids))
            try:
                computed[metric.name] = metric.compute(clips)
            except MissingAssetError as error:
                computed[metric.name] = error
            tell(len(clips.ids), len(clips.ids))
        outcome = computed[metric.name]
        if isinstance(outcome, MissingAssetError):
            raise outcome
        return outcome

    found = Evaluation()
    for metric in resolve_metrics(metrics):
        lacks = _lacks(metric, clips)
        if lacks and "all" not in metrics:
            raise ConfigError(f"Metric '{metric.name}' {lacks}")
        try:
            if lacks:
                raise MissingAssetError(lacks)
            found.values.append(compute(metric))
            found.metrics.append(metric)
        except MissingAssetError as error:
            found.unavailable[metric.name] = str(error)
    return found


def _lacks(metric: Metric, clips: ScoredClips) -> str | None:
    """Return what a metric needs that these clips do not have."""
    if metric.needs_events and clips.scenes is None:
        return "needs the event graphs of the split; give them with --events E.json."
    if metric.needs_candidates and clips.candidates is None:
        return "needs predictions with candidates; decode with more than one beam and keep them."
    return None


def _per_clip(ids: Sequence[str], found: Sequence[MetricValues]) -> tuple[ClipScores, ...]:
    """Return each clip's values; one that does not apply to the clip is left out."""
    columns = {name: column for values in found for name, column in values.per_clip.items()}
    return tuple(
        ClipScores.model_validate(
            {"id": name} | {key: column[row] for key, column in columns.items() if column[row] is not None}
        )
        for row, name in enumerate(ids)
    )


def _statistics(found: Evaluation) -> dict[str, Statistics]:
    """Return the statistics that corpus values were summed from, by metric."""
    return {
        metric.name: Statistics(
            columns=values.statistics.names, per_clip=tuple(map(tuple, values.statistics.values_CF.tolist()))
        )
        for metric, values in zip(found.metrics, found.values, strict=True)
        if values.statistics is not None
    }


def _tools(found: Sequence[MetricValues], tokenised: bool) -> dict[str, str]:
    """Return the versions of what computed the values."""
    tokeniser = "none: the texts were given as tokens" if tokenised else TOKENISER
    tools = {"fusion_eval": version("fusion-eval"), "python": platform.python_version(), "tokeniser": tokeniser}
    return tools | {name: value for values in found for name, value in values.tools.items()}
