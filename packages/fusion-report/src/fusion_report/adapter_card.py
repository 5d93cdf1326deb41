"""The model card of a released adapter: what it is for, what it was measured to do over all seeds, and its limits.

``fusion train`` writes a card of one run beside its weights; this one says what only a study knows: the spread over seeds, the
controls, what became of the backbone's skills, and the comparison with other systems.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fusion_eval.errors import DataError
from fusion_eval.schemas import RunCard

from fusion_report import escaping
from fusion_report.groups import REFERENCE, Group
from fusion_report.measuring import scores_of, value_cells
from fusion_report.metric_names import CONDITIONS, label_of, present
from fusion_report.rendering import plain
from fusion_report.results import Run
from fusion_report.study import Study
from fusion_report.table import Cell, Table

_TEMPLATES = (
    "It was trained on captions that are templates of composed scenes, not people's words: it says nothing sensible of sounds"
    " outside that bank, and its scores compare systems with each other and with nothing else."
)
_GENERAL = (
    "It describes sounds; it does not transcribe speech and must not be used to identify people or to decide about them.",
    "It was evaluated in English only.",
)


@dataclass(frozen=True)
class Release:
    """An adapter that is released: the seed whose val score, the one that training chose by, is the highest."""

    group: Group
    run: Run
    card: RunCard


def releases(study: Study) -> list[Release]:
    """Return the additive system's adapters, a training each, of those that a run card gives a hash of their weights."""
    found = []
    for group in study.main_groups():
        if group.system != REFERENCE or group.variant:
            continue
        candidates = []
        for run in group.runs:
            try:
                card = run.card
            except DataError:
                continue
            if card.adapter_sha256 is not None:
                candidates.append((_val(run), -run.entry.seed, run, card))
        if candidates:
            _, _, run, card = max(candidates, key=lambda one: one[:2])
            found.append(Release(group, run, card))
    return found


def _val(run: Run) -> float:
    """Return the best val score that training saw, the lowest of all where none is logged."""
    values = [
        event["cider_d"]
        for event in run.lines("log.jsonl")
        if event.get("event") == "evaluated" and isinstance(event.get("cider_d"), int | float)
    ]
    return max(values, default=float("-inf"))


def render_adapter_card(study: Study, release: Release, retention: Table) -> str:
    """Return the card in Markdown, headed by the metadata that model hubs read."""
    header = json.dumps(_metadata(study, release), ensure_ascii=False, indent=1)  # JSON is YAML too
    sections = [
        _introduction(release),
        _uses(release),
        _results(study, release),
        _retention(release, retention),
        _training(release),
        _files(release),
    ]
    return f"---\n{header}\n---\n\n" + "\n\n".join(sections) + "\n"


def _metadata(study: Study, release: Release) -> dict[str, Any]:
    card = release.card
    metadata: dict[str, Any] = {
        "library_name": "fusion",
        "license": "apache-2.0",
        "language": "en",
        "tags": ["audio-captioning", "fusion", card.system.name],
        "base_model": card.backbone.name,
        "datasets": [card.dataset.name],
    }
    scored = [scores for run, scores in scores_of(release.group) if run is release.run]
    if scored:
        metadata["model-index"] = [
            {
                "name": release.run.entry.name,
                "results": [
                    {
                        "task": {"type": "audio-captioning"},
                        "dataset": {"type": scored[0].dataset, "name": scored[0].dataset, "split": scored[0].split},
                        "metrics": [
                            {"type": name, "value": round(scored[0].metrics[name], 4)}
                            for name in present(scored)
                            if name in scored[0].metrics
                        ],
                    }
                ],
            }
        ]
    return metadata


def _introduction(release: Release) -> str:
    card = release.card
    heard = "has no audio path" if card.encoder is None else f"hears through the frozen encoder {card.encoder.name}"
    return (
        f"# {escaping.markdown(release.run.entry.name)}\n\n"
        f"An adapter of {card.parameters.total:,} parameters with which the frozen language model"
        f" {escaping.markdown(card.backbone.name)} describes sounds. It {escaping.markdown(heard)}, and adds to"
        " the residual stream at"
        f" blocks {', '.join(map(str, card.system.sites or ()))}. Without audio the model answers as it did"
        " before. The language model and the"
        " encoder are not in here."
    )


def _uses(release: Release) -> str:
    limits = [_TEMPLATES] if release.card.dataset.name in ("scenes", "av-scenes") else []
    lines = [f"- {sentence}" for sentence in (*limits, *_GENERAL)]
    return (
        "## Use and limits\n\n"
        "    fusion caption FILE --ckpt RUN        # the run's folder, which holds the adapter\n\n" + "\n".join(lines)
    )


def _results(study: Study, release: Release) -> str:
    group = release.group
    files = [scores for _, scores in scores_of(group)]
    metrics = present(files)
    if not metrics:
        return "## Results\n\nNot scored."
    first = files[0]
    seeds = ", ".join(str(run.entry.seed) for run, _ in scores_of(group))
    rows = []
    for condition, label in CONDITIONS.items():
        if any(run.has(f"scores/{condition}.json") for run in group.runs):
            rows.append(_row(label, value_cells(study.measuring, group, metrics, condition)))
    return "\n".join(
        [
            f"## Results\n\n{escaping.markdown(first.dataset)}, split {escaping.markdown(first.split)},"
            f" {first.n:,} clips. Mean over the seeds"
            f" {seeds} ± standard deviation, 95% interval over clips; this adapter is of seed"
            f" {release.run.entry.seed}, chosen on val.\n",
            "| heard | " + " | ".join(label_of(name) for name in metrics) + " |",
            "|---|" + "---:|" * len(metrics),
            *rows,
        ]
    )


def _row(label: str, cells: Mapping[str, Cell]) -> str:
    sources = dict.fromkeys(source for cell in cells.values() for source in cell.sources)
    comment = f" <!-- {escaping.markdown_comment(', '.join(sources))} -->"
    return f"| {label} | " + " | ".join(escaping.markdown(plain(cell)) for cell in cells.values()) + f" |{comment}"


def _retention(release: Release, table: Table) -> str:
    keys = [column.key for column in table.columns]
    stage = release.group.stage
    wanted = [keys.index(f"{name}_{stage}") for name in ("delta", "bound", "verdict")]
    rows = [
        row for row in table.rows if row.cells[0].text == release.group.system and not row.cells[wanted[0]].is_empty
    ]
    if not rows:
        return "## The backbone's skills\n\nNot measured: nothing says that the model still answers as before while it hears."
    lines = [
        f"| {escaping.markdown(row.cells[1].text or '')} | "
        + " | ".join(escaping.markdown(plain(row.cells[place])) for place in wanted)
        + " |"
        for row in rows
    ]
    return "\n".join(
        [
            f"## The backbone's skills\n\n{escaping.markdown(table.caption[0])}\n",
            "| heard | Δ, points | bound | verdict |",
            "|---|---:|---:|---|",
            *lines,
        ]
    )


def _training(release: Release) -> str:
    card = release.card
    place = card.hardware.accelerator or card.hardware.processor or card.hardware.device
    spent = "" if card.cost.hours is None else f" in {card.cost.hours:.2f} h on {place}"
    losses = ", ".join(f"{name} {weight:g}" for name, weight in card.training.loss_weights.items())
    batch = card.training.batch_size * card.training.accumulation
    lines: Sequence[str] = (
        f"{card.training.steps} steps of {batch} clips{spent}; losses and weights: {losses}",
        f"{card.training.optimiser.name}, {card.training.schedule.name}, {card.training.precision}, seed {card.seed}",
        f"weights of step {card.training.best_step}, chosen by {card.training.selection_metric}",
        f"command: {' '.join(card.command)}",
        f"commit: {card.git_commit or 'unknown'}{' with changes' if card.git_dirty else ''}",
    )
    return "## Training\n\n" + "\n".join(f"- {escaping.markdown(line)}" for line in lines)


def _files(release: Release) -> str:
    card = release.card
    rows = [("adapter", card.adapter_sha256 or ""), ("language model", card.backbone.weights_sha256)]
    if card.encoder is not None:
        rows.append(("encoder", card.encoder.weights_sha256))
    rows += [(f"references of {split}", digest) for split, digest in card.dataset.references_sha256.items()]
    lines = [f"| {escaping.markdown(name)} | `{digest}` |" for name, digest in rows]
    place = release.run.place("run_card.json")
    return "\n".join(["## Provenance\n", f"From {place}.\n", "| file | SHA-256 |", "|---|---|", *lines])
