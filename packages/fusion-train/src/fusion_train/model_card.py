"""The model card of an adapter: a README that a model hub shows, rendered from the run card and its scores.

With ``config.json`` and ``adapter.safetensors`` beside it the adapter's folder has the shape of a repository on a hub, and
``from_pretrained`` loads it from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml
from fusion_eval.schemas import RunCard, Scores

CARD_FILE = "README.md"
HEARD = "audio"


def render_model_card(card: RunCard, scores: Mapping[str, Scores]) -> str:
    """Return the card in Markdown, headed by the hub's metadata in YAML.

    Args:
        card: the run.
        scores: scores by condition; what was scored with the right audio goes into the metadata.
    """
    header = yaml.safe_dump(_metadata(card, scores), sort_keys=False, allow_unicode=True)
    sections = [_introduction(card), _usage(card), _results(scores), _training(card), _parameters(card)]
    return f"---\n{header}---\n\n" + "\n".join(sections)


def _metadata(card: RunCard, scores: Mapping[str, Scores]) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "library_name": "fusion",
        "tags": ["audio-captioning", "fusion", card.system.name],
        "base_model": card.backbone.name,
        "datasets": [card.dataset.name],
    }
    heard = scores.get(HEARD)
    if heard is not None:
        metadata["model-index"] = [
            {
                "name": card.run_id,
                "results": [
                    {
                        "task": {"type": "audio-captioning"},
                        "dataset": {"type": card.dataset.name, "name": card.dataset.name, "split": heard.split},
                        "metrics": [
                            {"type": name, "value": round(value, 4)}
                            for name, value in heard.metrics.items()
                            if name not in heard.oracle
                        ],
                    }
                ],
            }
        ]
    return metadata


def _introduction(card: RunCard) -> str:
    heard = (
        "It has no audio path." if card.encoder is None else f"It hears through the frozen encoder {card.encoder.name}."
    )
    return (
        f"# {card.run_id}\n\n"
        f"An adapter of the system *{card.system.name}* for the frozen language model {card.backbone.name}, trained on captions "
        f"of the dataset {card.dataset.name}. {heard} The language model is not in here.\n"
    )


def _usage(card: RunCard) -> str:
    return (
        "## Use\n\n"
        "    from fusion_core.pretrained import load_backbone\n"
        "    from fusion_core.systems.base import load_system\n\n"
        f'    backbone = load_backbone("{card.backbone.name}")\n'
        '    system = load_system("FOLDER")                      # this folder, or its name in the hub\'s cache\n'
        "    system.attach(backbone)\n"
        "    context = system.bind(x_BTA, mask_BT)               # frames of the encoder\n"
        "    h_BSD = backbone.hidden(ids_BS, fusion=context)\n\n"
        f"The weights of the language model have the SHA-256 `{card.backbone.weights_sha256}`.\n"
    )


def _results(scores: Mapping[str, Scores]) -> str:
    if not scores:
        return "## Results\n\nNot scored.\n"
    names = list(dict.fromkeys(name for one in scores.values() for name in one.metrics))
    rows = [
        f"| {condition} | " + " | ".join(_number(one.metrics.get(name)) for name in names) + " |"
        for condition, one in scores.items()
    ]
    first = next(iter(scores.values()))
    return "\n".join(
        [
            f"## Results\n\n{first.dataset}, split {first.split}, {first.n} clips:\n",
            "| condition | " + " | ".join(names) + " |",
            "|---|" + "---:|" * len(names),
            *rows,
            "",
        ]
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _training(card: RunCard) -> str:
    training = card.training
    place = card.hardware.accelerator or card.hardware.device
    spent = "" if card.cost.hours is None else f" in {card.cost.hours * 60:.1f} minutes on {place}"
    lines = [
        f"- {training.steps} steps of {training.batch_size * training.accumulation} clips{spent}; "
        f"the weights of step {training.best_step} were kept, by {training.selection_metric}",
        f"- {training.optimiser.name}, {training.schedule.name}, {training.precision}, seed {card.seed}",
        f"- command: `{' '.join(card.command)}`",
        f"- commit: {card.git_commit or 'unknown'}{' with changes' if card.git_dirty else ''}",
    ]
    return "## Training\n\n" + "\n".join(lines) + "\n"


def _parameters(card: RunCard) -> str:
    lines = [f"| {part} | {count:,} |" for part, count in card.parameters.parts.items()]
    ratio = card.parameters.ratio_to_reference
    note = (
        ""
        if ratio is None
        else f"\n{ratio:.2f} times the parameters of the additive system that sizes are matched to.\n"
    )
    gates = card.system.final_gates or {}
    sites = [
        f"| {site} | {gate:.3f} | {_number((card.system.addition_ratio or {}).get(site))} |"
        for site, gate in gates.items()
    ]
    table = "\n| site | gate | addition / stream |\n|---:|---:|---:|\n" + "\n".join(sites) + "\n" if sites else ""
    total = f"| total | {card.parameters.total:,} |"
    return "## Parameters\n\n| part | trainable |\n|---|---:|\n" + "\n".join([*lines, total]) + f"\n{note}{table}"
