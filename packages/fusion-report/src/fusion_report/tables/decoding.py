"""Table 4: what decoding and reranking are worth, with the oracle apart, which chose by the references and is no result."""

from __future__ import annotations

from fusion_eval.errors import DataError
from fusion_eval.schemas import Scores
from fusion_eval.schemas.rerank import TunedWeights

from fusion_report.groups import Group
from fusion_report.measuring import difference_cell, scores_of, value_cells
from fusion_report.metric_names import FALLBACK, label_of, present, score_metric
from fusion_report.study import Study, cards_of
from fusion_report.table import Cell, Column, Row, Table, empty, measured, words
from fusion_report.tables.captions import PAIRED, scored

RERANKED, ORACLE = "reranked", "oracle"


def decoding_table(study: Study) -> Table:
    """Return a row for beam search, for the reranker and for the oracle of each system that was reranked."""
    groups = [group for group in study.main(study.dataset) if _is_reranked(group)]
    files = study.files(groups)
    metrics = present(files) or (FALLBACK,)
    score = score_metric(files)
    rows = [row for group in groups for row in _rows(study, group, metrics, score)]
    rows += [row for place, group in enumerate(groups) if (row := _oracle(study, group, metrics, place)) is not None]
    if not rows:
        reason = "No run of the study has been reranked (scores/reranked.json)."
        rows = [Row(cells=(words("(no run)"), *[empty(reason)] * (len(metrics) + 2)))]
    return Table(
        key="decoding",
        title="Decoding against reranking",
        caption=(
            *scored(study, groups, metrics),
            PAIRED,
            "The reranker sees no reference; its weights were chosen on val.",
            "An oracle row takes each clip's best candidate by the references: an upper bound, no result of a system.",
        ),
        columns=(
            Column(key="decoding", title="Decoding", numeric=False),
            *(Column(key=name, title=label_of(name)) for name in metrics),
            Column(key="difference", title=f"Δ {label_of(score)} to beam search"),
            Column(key="weights", title="Weights (chosen on val)", numeric=False),
        ),
        rows=tuple(rows),
    )


def _is_reranked(group: Group) -> bool:
    return any(run.has(f"scores/{RERANKED}.json") or "rerank" in run.entry.measures for run in group.runs)


def _rows(study: Study, group: Group, metrics: tuple[str, ...], score: str) -> list[Row]:
    beams = sorted({card.decoding.beams for _, card in cards_of(group)})
    name = f"beam {', '.join(map(str, beams))}" if beams else "beam search"
    plain = value_cells(study.measuring, group, metrics)
    chosen = value_cells(study.measuring, group, metrics, RERANKED)
    gain = difference_cell(study.measuring, group, group, score, (RERANKED, "audio"))
    start = empty("This row is what reranking is compared with.")
    return [
        Row(cells=(words(name), *plain.values(), start, words("none")), section=group.label),
        Row(cells=(words(f"{name}, reranked"), *chosen.values(), gain, _weights(group))),
    ]


def _weights(group: Group) -> Cell:
    said, places = [], []
    for run in group.runs:
        try:
            tuned = run.read(TunedWeights, "rerank_weights.json")
        except DataError:
            continue
        weights = tuned.weights
        places.append(run.place("rerank_weights.json"))
        said.append(
            f"logp {weights.logprob:g}, sim {weights.similarity:g}, cons {weights.consensus:g}, γ {weights.length_exponent:g}"
        )
    if not said:
        return empty("The weights are not kept (rerank_weights.json).")
    return Cell(text="; ".join(dict.fromkeys(said)), sources=tuple(places))


def _oracle(study: Study, group: Group, metrics: tuple[str, ...], place: int) -> Row | None:
    found = scores_of(group, ORACLE)
    if not found:
        return None
    sources = [run.place(f"scores/{ORACLE}.json") for run, _ in found]
    files = [scores for _, scores in found]
    names = [name for metric in metrics if (name := _oracle_name(files[0], metric))]
    values = study.measuring.values(files, names)
    cells = []
    for name in metrics:
        value = values.get(_oracle_name(files[0], name))
        cells.append(
            measured(value, sources) if value is not None else empty(f"The oracle did not choose by {label_of(name)}.")
        )
    return Row(
        cells=(
            words(f"{group.label}: best candidate"),
            *cells,
            empty("An oracle is no result, so it is not compared."),
            words("chosen by the references"),
        ),
        section="Oracle (not a result)" if place == 0 else None,
    )


def _oracle_name(scores: Scores, metric: str) -> str:
    """Return the name under which the file has the oracle's value of a metric; an impossible one where it has none."""
    return next((name for name in (f"{metric}_max", metric) if name in scores.oracle), "")
