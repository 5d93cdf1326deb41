"""The methods appendix of a run, from its run card and its scores: what a reader needs to do it again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fusion_eval.errors import DataError
from fusion_eval.schemas import RunCard, Scores

Sections = dict[str, tuple[str, ...]]
_NORMALISATION = (
    "Reference and predicted captions are scored after normalisation: line ends become spaces, then the Penn Treebank "
    "tokenizer of coco-caption (3.4.1, lower case), and its punctuation tokens are removed.",
    "Training captions are used as they are published, line breaks removed, with the backbone's own tokenizer.",
)


def methods_sections(run: Path, audio_protocol: Callable[[str], Sequence[str]]) -> Sections:
    """Return the sections of the appendix by title, each as sentences.

    Args:
        run: the directory of a finished run.
        audio_protocol: given an encoder's name, sentences on how it hears a clip.

    Raises:
        DataError: the directory holds no finished run.
    """
    path = run / "run_card.json"
    if not path.is_file():
        raise DataError(f"{run} holds no run_card.json: give the directory of a finished run of fusion train.")
    card = RunCard.read(path)
    scores = _test_scores(run)
    heard = tuple(audio_protocol(card.encoder.name)) if card.encoder else ("The system hears nothing.",)
    modalities = {"Modalities": modality_sentences(card)} if card.modalities else {}
    return {
        "Data": _data(card, scores),
        "Audio": heard,
        "Text": _NORMALISATION,
        "Model": _model(card),
        **modalities,
        "Training": training_sentences(card),
        "Decoding": _decoding(card),
        "Metrics": _metrics(scores),
        "Machine and versions": _machine(card),
    }


def render_methods(sections: Mapping[str, Sequence[str]]) -> str:
    """Return the appendix in Markdown."""
    parts = ["# Methods"]
    for title, sentences in sections.items():
        parts += [f"## {title}", "\n".join(f"- {sentence}" for sentence in sentences)]
    return "\n\n".join(parts) + "\n"


def _test_scores(run: Path) -> Scores | None:
    path = run / "scores" / "audio.json"
    return Scores.read(path) if path.is_file() else None


def _data(card: RunCard, scores: Scores | None) -> tuple[str, ...]:
    usable_first = sorted(card.dataset.counts_by_status.items(), key=lambda item: item[0] != "ok")
    counts = ", ".join(f"{count:,} {status.replace('_', ' ')}" for status, count in usable_first)
    found = [f"Dataset {card.dataset.name}; clips by status: {counts}."]
    found += [f"References of {split}: SHA-256 {digest}." for split, digest in card.dataset.references_sha256.items()]
    if scores is not None:
        missing = (
            f", of which {len(scores.missing):,} without usable audio count as an empty caption"
            if scores.missing
            else ""
        )
        found.append(f"Scores on {scores.split} are over a fixed denominator of {scores.n:,} clips{missing}.")
    return tuple(found)


def _model(card: RunCard) -> tuple[str, ...]:
    system = card.system
    found = [f"Backbone {card.backbone.name}, frozen; weights SHA-256 {card.backbone.weights_sha256}."]
    if card.encoder:
        found.append(
            f"Audio encoder {card.encoder.name}, frozen; weights SHA-256 {card.encoder.weights_sha256}, "
            f"preprocessing {card.encoder.preprocessing_sha256[:12]}."
        )
    facts = {"sites": system.sites, "audio tokens": system.tokens, "projector width": system.projector_width}
    said = "; ".join(f"{name} {_value(value)}" for name, value in facts.items() if value is not None)
    parts = ", ".join(f"{part} {count:,}" for part, count in card.parameters.parts.items())
    found.append(f"System {system.name}" + (f": {said}." if said else "."))
    found.append(f"{card.parameters.total:,} trainable parameters ({parts}); everything else is frozen.")
    found.append(f"Prompt: {json.dumps(card.backbone.prompt, ensure_ascii=False)}.")
    return tuple(found)


def modality_sentences(card: RunCard) -> tuple[str, ...]:
    """Return a sentence for each of several modalities, and what the run started from; none where audio is alone."""
    found = [
        f"{name}: read by {one.encoder.name} (frozen; weights SHA-256 {one.encoder.weights_sha256}, preprocessing"
        f" {one.encoder.preprocessing_sha256[:12]}); {one.parameters:,} parameters of {one.system},"
        f" {'trained' if one.trained else 'not trained'}."
        for name, one in (card.modalities or {}).items()
    ]
    if found and card.init_sha256:
        found.append(f"Training started from the adapter with SHA-256 {card.init_sha256}.")
    return tuple(found)


def training_sentences(card: RunCard) -> tuple[str, ...]:
    """Return how a run was trained."""
    training = card.training
    losses = ", ".join(f"{name} {weight:g}" for name, weight in training.loss_weights.items())
    steps = (
        ""
        if training.steps is None
        else f"; {training.steps:,} steps done, the weights of step {training.best_step} kept"
    )
    found = [
        f"{training.optimiser.name}: {_settings(training.optimiser.settings)}.",
        f"{training.schedule.name}: {_settings(training.schedule.settings)}{steps}.",
        f"Effective batch {training.batch_size * training.accumulation} clips ({training.batch_size} × {training.accumulation}); "
        f"frozen weights in {training.precision}, trained ones and losses in fp32; seed {card.seed}.",
        f"Losses and their weights: {losses}.",
    ]
    if training.selection_metric:
        found.append(f"Weights are chosen by {training.selection_metric}.")
    return tuple(found)


def _decoding(card: RunCard) -> tuple[str, ...]:
    decoding = card.decoding
    return (
        f"Beam search with {decoding.beams} beams, at most {decoding.max_new_tokens} new tokens, length penalty "
        f"{decoding.length_penalty:g}.",
    )


def _metrics(scores: Scores | None) -> tuple[str, ...]:
    if scores is None:
        return ("No scores lie in this run.",)
    found = [f"{name}: {_settings(definition)}." for name, definition in scores.definition.items()]
    found += [f"{name} is not reported: {reason}" for name, reason in scores.unavailable.items()]
    tools = ", ".join(f"{name} {version}" for name, version in scores.tools.items())
    return (*found, f"Computed with {tools}.") if tools else tuple(found)


def _machine(card: RunCard) -> tuple[str, ...]:
    hardware = card.hardware
    device = hardware.accelerator or hardware.processor or hardware.device
    hours = "" if card.cost.hours is None else f" Training took {card.cost.hours:.2f} h."
    versions = ", ".join(f"{name} {version}" for name, version in card.packages.items())
    commit = f" Commit {card.git_commit}{' with changes' if card.git_dirty else ''}." if card.git_commit else ""
    return (
        f"{device}, {hardware.cores} cores.{hours}{commit}",
        f"Versions: {versions}.",
        f"Command: {' '.join(card.command)}",
    )


def _settings(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {_value(value)}" for name, value in settings.items()) or "no settings"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"({_settings(value)})"
    if isinstance(value, list | tuple):
        return "{" + ", ".join(_value(one) for one in value) + "}"
    return f"{value:g}" if isinstance(value, float) else str(value)
