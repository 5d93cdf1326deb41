"""A few clips with what each system says of them, chosen by rule: evenly over the additive system's scores, worst to best."""

from __future__ import annotations

from fusion_eval.errors import DataError
from fusion_eval.schemas import Predictions

from fusion_report.groups import Group
from fusion_report.measuring import scores_of
from fusion_report.metric_names import label_of
from fusion_report.results import Run
from fusion_report.study import Study
from fusion_report.table import Cell, Column, Row, Table, empty, number, words

CLIPS = 5


def example_table(study: Study) -> Table:
    """Return a row a clip and system: the first seed's caption and its score."""
    reference = study.reference()
    ranked = _ranked(study, reference) if reference is not None else []
    chosen = [ranked[round(place * (len(ranked) - 1) / (CLIPS - 1))] for place in range(CLIPS)] if ranked else []
    rows = []
    for clip in dict.fromkeys(chosen):
        new = [_row(study, group, clip) for group in study.main(study.dataset)]
        rows += [new[0].model_copy(update={"section": clip}), *new[1:]]
    if not rows:
        rows = [Row(cells=(words("(no run)"), empty("No additive run has captions and scores."), empty("No score.")))]
    return Table(
        key="examples",
        title="Captions",
        caption=(
            f"{len(dict.fromkeys(chosen))} clips of {study.dataset}, evenly over the additive system's {label_of(study.score)}"
            " from the worst to the best; captions of the first seed, not picked by hand.",
        ),
        columns=(
            Column(key="system", title="System", numeric=False),
            Column(key="caption", title="Caption", numeric=False),
            Column(key="score", title=label_of(study.score)),
        ),
        rows=tuple(rows),
    )


def _ranked(study: Study, reference: Group) -> list[str]:
    """Return the clips by the additive system's score, worst first; equals by their id."""
    found = scores_of(reference)
    if not found:
        return []
    values = {clip.id: clip.values.get(study.score) for clip in found[0][1].per_clip}
    return sorted((clip for clip, value in values.items() if value is not None), key=lambda clip: (values[clip], clip))


def _row(study: Study, group: Group, clip: str) -> Row:
    run = group.runs[0]
    try:
        caption = _caption(run.predictions(), clip)
        cell = Cell(text=caption or "(empty)", sources=(run.place("predictions/audio.json"),))
    except DataError as error:
        cell = empty(str(error))
    return Row(cells=(words(group.label), cell, _score(run, clip, study.score)))


def _caption(predictions: Predictions, clip: str) -> str:
    for item in predictions.items:
        if item.id == clip:
            return item.caption
    raise DataError(f"The predictions have no clip {clip}.")


def _score(run: Run, clip: str, metric: str) -> Cell:
    try:
        scores = run.scores()
    except DataError as error:
        return empty(str(error))
    value = next((one.values.get(metric) for one in scores.per_clip if one.id == clip), None)
    return number(
        value, [run.place("scores/audio.json")], reason=None if value is not None else "The clip has no score."
    )
