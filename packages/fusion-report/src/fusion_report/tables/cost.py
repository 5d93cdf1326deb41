"""What each system cost: parameters, FLOPs, hours, throughput, and hours to a target, censored where it was not reached."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev

from fusion_eval.schemas import RunCard

from fusion_report.groups import Group
from fusion_report.metric_names import label_of
from fusion_report.study import Study, cards_of
from fusion_report.table import Cell, Column, Row, Table, empty, number, words
from fusion_report.target_hours import METRIC, TargetTime, target_of, target_times

_GIGA = 1e9


def cost_table(study: Study) -> Table:
    """Return a row a system of the main table."""
    groups = study.main(study.dataset)
    target = target_of(study)
    times = target_times(study, groups, target[0]) if target else []
    stages = _throughputs(groups)
    flops = sorted({stage for group in groups for _, card in cards_of(group) for stage in card.cost.flops or {}})
    rows = [_row(group, [one for one in times if one.group == group.label], flops, stages, target) for group in groups]
    width = 5 + len(flops) + len(stages)
    if not rows:
        rows = [Row(cells=(words("(no run)"), *[empty("The study has no run of the main systems.")] * (width - 1)))]
    return Table(
        key="cost",
        title="Cost",
        caption=_caption(groups, target, flops),
        columns=(
            Column(key="system", title="System", numeric=False),
            Column(key="parameters", title="Trainable"),
            *(Column(key=f"flops_{stage}", title=f"GFLOPs, {stage.replace('_', ' ')}") for stage in flops),
            Column(key="hours", title="Hours"),
            Column(key="step_seconds", title="Step, s"),
            *(Column(key=f"clips_{stage}", title=f"{stage}, clips/s") for stage in stages),
            Column(key="target", title="Hours to target", numeric=False),
        ),
        rows=tuple(rows),
    )


def _throughputs(groups: Sequence[Group]) -> list[str]:
    return list(
        dict.fromkeys(one.stage for group in groups for _, card in cards_of(group) for one in card.cost.throughput)
    )


def _row(
    group: Group,
    times: Sequence[TargetTime],
    flops: Sequence[str],
    stages: Sequence[str],
    target: tuple[float, str] | None,
) -> Row:
    cards = cards_of(group)
    places = [place for place, _ in cards]
    lacking = " ".join(group.lacking(lambda run: run.card))

    def mean(values: Sequence[float | None], absent: str, digits: int, grouped: bool = False) -> Cell:
        known = [value for value in values if value is not None]
        if not known:
            return empty(lacking if not cards else absent)
        spread = stdev(known) if len(known) > 1 and not grouped else None
        return number(fmean(known), places, digits=digits, grouped=grouped, stdev=spread, reason=lacking or None)

    return Row(
        cells=(
            words(group.label),
            mean([float(card.parameters.total) for _, card in cards], "", 0, grouped=True),
            *(
                mean([_flops(card, stage) for _, card in cards], f"No FLOPs of {stage} were counted.", 1)
                for stage in flops
            ),
            mean([card.cost.hours for _, card in cards], "The run card states no hours.", 3),
            mean([_step(card) for _, card in cards], "The run card states no hours or steps.", 2),
            *(mean([_speed(card, stage) for _, card in cards], f"{stage} was not timed.", 2) for stage in stages),
            _target(times, target),
        )
    )


def _flops(card: RunCard, stage: str) -> float | None:
    value = (card.cost.flops or {}).get(stage)
    return None if value is None else value / _GIGA


def _step(card: RunCard) -> float | None:
    return card.cost.hours * 3600 / card.training.steps if card.cost.hours and card.training.steps else None


def _speed(card: RunCard, stage: str) -> float | None:
    return next((one.clips_per_second for one in card.cost.throughput if one.stage == stage), None)


def _target(times: Sequence[TargetTime], target: tuple[float, str] | None) -> Cell:
    """Return the mean hours of the runs that reached the target, how many did, and the bound of those that did not."""
    if target is None or not times:
        return empty("No evaluation on val is logged.")
    reached = [one.hours for one in times if one.reached]
    censored = [one.hours for one in times if not one.reached]
    parts = [f"{fmean(reached):.3f} ({len(reached)} of {len(times)})"] if reached else []
    if censored:
        parts.append(f"not reached in {min(censored):.3f} h by {len(censored)}")
    return Cell(text="; ".join(parts), sources=tuple(one.source for one in times))


def _caption(groups: Sequence[Group], target: tuple[float, str] | None, flops: Sequence[str]) -> tuple[str, ...]:
    cards = [card for group in groups for _, card in cards_of(group)]
    devices = dict.fromkeys(_device(card) for card in cards)
    batches = sorted({one.batch_size for card in cards for one in card.cost.throughput})
    sentences = [f"Measured on {' and '.join(devices)}." if devices else "Nothing has been measured."]
    if batches:
        sentences.append(
            f"Throughput with {', '.join(map(str, batches))} clips a batch; means over seeds ± standard deviation."
        )
    if not flops:
        sentences.append("FLOPs are not in the run cards; fusion params counts them on the meta device.")
    if target is not None:
        sentences.append(
            f"The target is a val {label_of(METRIC)} of {target[0]:.3f} ({target[1]}); hours run from the first step,"
            " evaluations included; runs that did not reach it are censored at their end."
        )
    return tuple(sentences)


def _device(card: RunCard) -> str:
    hardware = card.hardware
    return f"{hardware.accelerator or hardware.processor or hardware.device} ({hardware.cores} cores)"
