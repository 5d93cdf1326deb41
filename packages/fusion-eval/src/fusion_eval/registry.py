"""The metrics by name. A metric is loaded when it is asked for, so that listing them costs nothing.

Another package adds one by the entry-point group ``fusion.metrics``: name = "module:attribute", the attribute a
``fusion_eval.metrics.base.Metric``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import entry_points

from fusion_eval.errors import ConfigError, MissingAssetError
from fusion_eval.metrics.base import Metric

ENTRY_POINT_GROUP = "fusion.metrics"

_METRICS = {
    "bleu": "fusion_eval.metrics.bleu:METRIC",
    "bleu_1": "fusion_eval.metrics.bleu:METRIC",
    "bleu_2": "fusion_eval.metrics.bleu:METRIC",
    "bleu_3": "fusion_eval.metrics.bleu:METRIC",
    "bleu_4": "fusion_eval.metrics.bleu:METRIC",
    "rouge_l": "fusion_eval.metrics.rouge_l:METRIC",
    "meteor": "fusion_eval.metrics.meteor:METRIC",
    "cider_d": "fusion_eval.metrics.cider_d:METRIC",
    "spice": "fusion_eval.metrics.spice:METRIC",
    "spider": "fusion_eval.metrics.spider:SPIDER",
    "spider_fl": "fusion_eval.metrics.spider:SPIDER_FL",
    "distinct_1": "fusion_eval.metrics.diversity:METRIC",
    "distinct_2": "fusion_eval.metrics.diversity:METRIC",
    "vocabulary": "fusion_eval.metrics.diversity:METRIC",
    "caption_length": "fusion_eval.metrics.diversity:METRIC",
    "repetition": "fusion_eval.metrics.fluency_proxies:REPETITION",
    "unseen_bigrams": "fusion_eval.metrics.fluency_proxies:UNSEEN_BIGRAMS",
    "self_bleu": "fusion_eval.metrics.diversity:SELF_BLEU",
    "spider_max": "fusion_eval.metrics.spider:SPIDER_MAX",
    "cider_d_max": "fusion_eval.metrics.spider:CIDER_D_MAX",
    "error_probability": "fusion_eval.metrics.fense:ERROR_PROBABILITY",
    "fer": "fusion_eval.metrics.fense:FLUENCY_ERROR_RATE",
    "sbert_sim": "fusion_eval.metrics.fense:SENTENCE_SIMILARITY",
    "fense": "fusion_eval.metrics.fense:FENSE",
    "event_f1": "fusion_eval.metrics.scene_events:EVENT_F1",
    "order_accuracy": "fusion_eval.metrics.scene_events:ORDER_ACCURACY",
    "count_accuracy": "fusion_eval.metrics.scene_events:COUNT_ACCURACY",
}


def metric_names() -> list[str]:
    """Return the names of all metrics, those of other packages last."""
    return list(_places())


def load_metric(name: str) -> Metric:
    """Return the metric of that name.

    Raises:
        ConfigError: there is no such metric, or what another package offers under the name is none.
        MissingAssetError: its module cannot be imported.
    """
    places = _METRICS if name in _METRICS else _places()  # looking for other packages takes a tenth of a second
    if name not in places:
        near = difflib.get_close_matches(name, places, n=1)
        mend = f"did you mean '{near[0]}'?" if near else f"the metrics are {', '.join(places)}."
        raise ConfigError(f"There is no metric '{name}'; {mend}")
    module, _, attribute = places[name].partition(":")
    try:
        metric = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise MissingAssetError(f"Metric '{name}' cannot be loaded from {places[name]} ({error}).") from error
    if not isinstance(metric, Metric):
        raise ConfigError(f"Metric '{name}': {places[name]} is no fusion_eval.metrics.base.Metric.")
    return metric


def resolve_metrics(names: Iterable[str]) -> list[Metric]:
    """Return the metrics of these names in the order given, each once; «all» stands for every metric.

    Several names may stand for one metric, such as bleu_1 to bleu_4, whose values come together.

    Raises:
        ConfigError: there is no such metric, or no name is given.
        MissingAssetError: a metric's module cannot be imported.
    """
    wanted = list(dict.fromkeys(names))
    if not wanted:
        raise ConfigError("No metric is named; name at least one, or all.")
    if "all" in wanted:
        wanted = metric_names()
    metrics = [load_metric(name) for name in wanted]
    return list({metric.name: metric for metric in metrics}.values())


def _places() -> dict[str, str]:
    """Return «module:attribute» by name; a built-in metric cannot be replaced."""
    added = {point.name: point.value for point in entry_points(group=ENTRY_POINT_GROUP)}
    return _METRICS | {name: place for name, place in added.items() if name not in _METRICS}
