"""«Are we publishable?»: each line of the plan with what was measured, the threshold, where it stands, and the verdict.

The plan's lines are about AudioCaps, Clotho and a LLaVA probe. Where a study has stand-ins for them the same is asked of those,
in lines that say so; they do not make the plan's own lines pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from fusion_eval.schemas.base import Record, Schema
from pydantic import Field

from fusion_report.checks import Check, Verdict, above_zero, at_least, check
from fusion_report.groups import Group, default_of
from fusion_report.measuring import difference_cell, scores_of, value_cells
from fusion_report.metric_names import label_of
from fusion_report.retention_checks import THRESHOLD, asked_llava, retention_checks
from fusion_report.study import PRIMARY_DATASET, SECONDARY_DATASET, Study, cards_of
from fusion_report.table import Cell, empty
from fusion_report.tables.decoding import ORACLE, RERANKED
from fusion_report.video_checks import video_checks


class Line(Record):
    """One line of the checklist; its verdict is that of its worst check."""

    key: str
    requirement: str
    stand_in: bool = Field(default=False, description="Whether it asks a stand-in instead of what the plan names.")
    checks: tuple[Check, ...] = Field(min_length=1)

    @property
    def verdict(self) -> Verdict:
        """Fail where a check fails, else not measured where one is not, else pass."""
        verdicts = {check.verdict for check in self.checks}
        return "fail" if "fail" in verdicts else "not measured" if "not measured" in verdicts else "pass"


class Checklist(Schema):
    """The whole checklist."""

    schema_: Literal["fusion.checklist/1"] = Field(default="fusion.checklist/1", alias="schema")
    study: str
    lines: tuple[Line, ...]

    @property
    def passes(self) -> bool:
        """Whether every line of the plan passes; stand-ins do not count."""
        return all(line.verdict == "pass" for line in self.lines if not line.stand_in)


def checklist(study: Study) -> Checklist:
    """Return the checklist of a study."""
    lines = [
        Line(
            key="audiocaps",
            requirement="AudioCaps SPIDEr ≥ 0.50 (≥ 0.52 with SCST), and SPIDEr-max uplift ≥ +0.02.",
            checks=(
                _value(study, PRIMARY_DATASET, "xe", "spider", 0.50),
                _value(study, PRIMARY_DATASET, "scst", "spider", 0.52),
                _uplift(study, PRIMARY_DATASET),
            ),
        ),
        Line(
            key="clotho",
            requirement="Clotho SPIDEr-FL ≥ 0.33.",
            checks=(_value(study, SECONDARY_DATASET, "xe", "spider_fl", 0.33),),
        ),
        _retention_line(study, stand_in=False),
        Line(
            key="video",
            requirement="Second modality added with the same recipe, with positive gain and no regressions.",
            checks=video_checks(study),
        ),
        *_comparisons(study),
    ]
    if not _asked_llava(study):
        lines.insert(3, _retention_line(study, stand_in=True))
    return Checklist(study=study.results.card.name, lines=tuple(lines))


def _group(study: Study, dataset: str, stage: str = "xe") -> Group | None:
    return default_of(study.groups, stage=stage, dataset=dataset)


def _value(study: Study, dataset: str, stage: str, metric: str, least: float) -> Check:
    group = _group(study, dataset, stage)
    cell = (
        empty(f"The study has no additive run on {dataset}.")
        if group is None
        else value_cells(study.measuring, group, [metric])[metric]
    )
    trained = "with SCST" if stage == "scst" else "after cross-entropy"
    what = f"{label_of(metric)} of additive on {dataset}, {trained}"
    return check(cell, what, f"≥ {least:.2f}", at_least(least))


def _uplift(study: Study, dataset: str) -> Check:
    """Return SPIDEr-max less SPIDEr of the same candidates: an oracle, kept as the plan names it."""
    what, threshold = f"SPIDEr-max less SPIDEr of additive on {dataset} (an oracle)", "≥ +0.02"
    group = _group(study, dataset)
    if group is None:
        return check(empty(f"The study has no additive run on {dataset}."), what, threshold, at_least(0.02))
    pairs = [
        (scores.metrics["spider_max"], plain.metrics["spider"], run.place(f"scores/{ORACLE}.json"))
        for run, scores in scores_of(group, ORACLE)
        for other, plain in scores_of(group)
        if other is run and "spider_max" in scores.metrics and "spider" in plain.metrics
    ]
    if not pairs:
        return check(empty("SPIDEr-max was not scored (scores/oracle.json)."), what, threshold, at_least(0.02))
    gain = sum(best - chosen for best, chosen, _ in pairs) / len(pairs)
    cell = Cell(value=gain, signed=True, sources=tuple(place for _, _, place in pairs))
    return check(cell, what, threshold, at_least(0.02))


def _asked_llava(study: Study) -> bool:
    additive = [group for group in study.main_groups() if group.system == "additive"]
    return asked_llava([run for group in additive for run in group.runs if run.has("retention.json")])


def _retention_line(study: Study, stand_in: bool) -> Line:
    """Return the line on retention: every condition of the additive system after each training, by the worst seed's bound."""
    checks = []
    for stage in ("xe", "scst"):
        for group in study.main(study.dataset):
            if group.system == "additive" and group.stage == stage:
                checks += retention_checks(group, llava=not stand_in)
    if not checks:
        reason = "Retention on a LLaVA probe was not measured." if not stand_in else "Retention was not measured."
        checks = [check(empty(reason), "Δ accuracy of additive", THRESHOLD, at_least(0))]
    place = "a stand-in for the LLaVA probe" if stand_in else "the LLaVA probe"
    return Line(
        key="retention-stand-in" if stand_in else "retention",
        requirement=f"Retention drop ≤ 0.5 points on {place}.",
        stand_in=stand_in,
        checks=tuple(checks),
    )


def _comparisons(study: Study) -> list[Line]:
    """Return the lines on the Pareto front and on attribution, of AudioCaps or, as a stand-in, of the study's own dataset."""
    datasets = [PRIMARY_DATASET]
    if study.dataset != PRIMARY_DATASET and study.main(study.dataset):
        datasets.append(study.dataset)
    lines = []
    for dataset in datasets:
        stand_in, place = dataset != PRIMARY_DATASET, "AudioCaps" if dataset == PRIMARY_DATASET else dataset
        suffix = "-stand-in" if stand_in else ""
        lines.append(
            Line(
                key=f"pareto{suffix}",
                requirement="Additive beats cross-attention and partial unfreezing on the score-against-parameters curve"
                f" ({place}).",
                stand_in=stand_in,
                checks=tuple(_beats(study, dataset, system) for system in ("cross-attention", "partial-unfreeze")),
            )
        )
        lines.append(
            Line(
                key=f"attribution{suffix}",
                requirement=f"Core ablations show what additive fusion adds beyond data and decoding ({place}).",
                stand_in=stand_in,
                checks=_attribution(study, dataset),
            )
        )
    return lines


def _metric(study: Study, dataset: str) -> str:
    from fusion_report.metric_names import score_metric

    return score_metric(study.files(study.main(dataset)))


def _beats(study: Study, dataset: str, system: str) -> Check:
    """Return whether additive scores higher at no more parameters than the tolerance of matching allows."""
    additive, other = _group(study, dataset), default_of(study.groups, system, dataset=dataset)
    what = f"additive less {system} on {dataset}"
    threshold = "interval above 0 at ≤ 1.1 times its parameters"
    if additive is None or other is None:
        missing = "additive" if additive is None else system
        return check(empty(f"The study has no run of {missing} on {dataset}."), what, threshold, above_zero)
    metric = _metric(study, dataset)
    cell = difference_cell(study.measuring, additive, other, metric)
    sizes = [_size(one) for one in (additive, other)]
    ratio = sizes[0] / sizes[1] if sizes[0] and sizes[1] else None
    said = f"{label_of(metric)} of {what}" + (f" ({ratio:.2f} times its parameters)" if ratio else "")
    return check(cell, said, threshold, lambda found: above_zero(found) and ratio is not None and ratio <= 1.1)


def _size(group: Group) -> float:
    totals = [card.parameters.total for _, card in cards_of(group)]
    return sum(totals) / len(totals) if totals else 0.0


def _attribution(study: Study, dataset: str) -> tuple[Check, ...]:
    additive, blind = _group(study, dataset), default_of(study.groups, "data-only", dataset=dataset)
    if additive is None:
        return (
            check(empty(f"The study has no additive run on {dataset}."), "additive", "interval above 0", above_zero),
        )
    metric = _metric(study, dataset)
    name, threshold = label_of(metric), "interval above 0"
    beyond_data = difference_cell(study.measuring, additive, blind, metric)
    hearing = difference_cell(study.measuring, additive, additive, metric, ("audio", "shuffled"))
    return (
        check(beyond_data, f"{name} of additive less data-only, same decoding", threshold, above_zero),
        check(hearing, f"{name} of additive with the right audio less with another clip's", threshold, above_zero),
        _decoding(study, additive, beyond_data, metric),
    )


def _decoding(study: Study, additive: Group, beyond_data: Cell, metric: str) -> Check:
    """Return whether the reranker adds less than hearing does: then it does not drive the gain."""
    gain = difference_cell(study.measuring, additive, additive, metric, (RERANKED, "audio"))
    what, threshold = f"{label_of(metric)} that reranking adds to additive", "less than it has over data-only"
    if beyond_data.value is None:
        return check(empty(beyond_data.reason or "not measured"), what, threshold, at_least(0))
    limit = beyond_data.value
    return check(gain, what, f"{threshold} ({limit:+.3f})", lambda cell: cell.value is not None and cell.value < limit)


def rows_of(found: Checklist) -> Sequence[tuple[Line, Check]]:
    """Return every check with its line, in their order."""
    return [(line, one) for line in found.lines for one in line.checks]


def render_checklist(found: Checklist) -> str:
    """Return the checklist in Markdown."""
    from fusion_report.escaping import markdown

    signs = {"pass": "x", "fail": " ", "not measured": " "}
    lines = [f"# Are we publishable? ({markdown(found.study)})", ""]
    for line in found.lines:
        name = "stand-in: " if line.stand_in else ""
        lines.append(f"- [{signs[line.verdict]}] **{line.verdict}**: {name}{markdown(line.requirement)}")
        for one in line.checks:
            value = one.measured or f"not measured ({one.reason})"
            sources = f" <!-- {', '.join(one.sources)} -->" if one.sources else ""
            lines.append(
                f"    - {one.verdict}: {markdown(one.what)}: {markdown(value)}; asked: {markdown(one.threshold)}{sources}"
            )
    counted = [line for line in found.lines if not line.stand_in]
    passed = sum(line.verdict == "pass" for line in counted)
    lines += ["", f"{passed} of {len(counted)} lines of the plan pass; stand-ins do not count."]
    return "\n".join(lines) + "\n"
