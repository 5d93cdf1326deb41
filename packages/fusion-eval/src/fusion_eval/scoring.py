"""Score predictions against references: every metric over the same clips, per clip and for the corpus."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version

from fusion_eval.align import align
from fusion_eval.errors import ConfigError
from fusion_eval.metrics.base import MetricValues
from fusion_eval.registry import resolve_metrics
from fusion_eval.schemas.events import SceneEvents
from fusion_eval.schemas.predictions import Predictions
from fusion_eval.schemas.references import References
from fusion_eval.schemas.scores import ClipScores, Scores

TOKENISER = "fusion_eval, as CoreNLP 3.4.1 PTBTokenizer -preserveLines -lowerCase"


def score(
    predictions: Predictions,
    references: References,
    metrics: Sequence[str] = ("cider_d",),
    events: SceneEvents | None = None,
    allow_missing: bool = False,
) -> Scores:
    """Return the scores of a system's captions.

    Args:
        predictions: one caption a clip.
        references: what the clips' captions are compared with; they define the clips and the denominator.
        metrics: names of metrics; «all» takes each that can be had and says of the others why not.
        events: the event graphs of the same split, for the metrics of composed scenes.
        allow_missing: score a clip without a prediction as an empty caption instead of refusing; ``missing`` names it.

    Raises:
        ConfigError: a metric is unknown, or needs event graphs that are not given.
        DataError: ids do not fit together; the message names them.
    """
    alignment = align(predictions, references, events, allow_missing)
    found: list[MetricValues] = []
    unavailable: dict[str, str] = {}
    for metric in resolve_metrics(metrics):
        if metric.needs_events and events is None:
            reason = "needs the event graphs of the split; give them with --events E.json."
            if "all" not in metrics:
                raise ConfigError(f"Metric '{metric.name}' {reason}")
            unavailable[metric.name] = reason
            continue
        found.append(metric.compute(alignment.clips))
    return Scores(
        dataset=references.dataset,
        split=references.split,
        system=predictions.system,
        predictions_sha256=predictions.sha256(),
        references_sha256=references.sha256(),
        events_sha256=events.sha256() if events is not None else None,
        n=len(alignment.clips.ids),
        missing=alignment.missing,
        metrics={name: value for values in found for name, value in values.corpus.items()},
        denominator={name: n for values in found for name, n in values.denominator.items()},
        unavailable=unavailable | {name: why for values in found for name, why in values.unavailable.items()},
        per_clip=_per_clip(alignment.clips.ids, found),
        definition={name: settings for values in found for name, settings in values.definition.items()},
        tools=_tools(found),
    )


def _per_clip(ids: Sequence[str], found: Sequence[MetricValues]) -> tuple[ClipScores, ...]:
    """Return each clip's values; one that does not apply to the clip is left out."""
    columns = {name: column for values in found for name, column in values.per_clip.items()}
    return tuple(
        ClipScores.model_validate(
            {"id": name} | {key: column[row] for key, column in columns.items() if column[row] is not None}
        )
        for row, name in enumerate(ids)
    )


def _tools(found: Sequence[MetricValues]) -> dict[str, str]:
    """Return the versions of what computed the values."""
    tools = {"fusion_eval": version("fusion-eval"), "python": platform.python_version(), "tokeniser": TOKENISER}
    return tools | {name: value for values in found for name, value in values.tools.items()}
