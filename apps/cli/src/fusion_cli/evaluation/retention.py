"""``fusion eval retention``: does the backbone still answer what it answered before it learned to hear?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fusion_core.backbone import Backbone
    from fusion_eval.schemas.retention import Condition, Retention, Scoring
    from fusion_train.retention_probe import Probe


def retention(
    checkpoints: Annotated[
        list[Path], typer.Option("--ckpt", help="A finished run; repeatable, runs of one backbone are read together.")
    ],
    probe: Annotated[
        str | None,
        typer.Option(
            help="File of JSON lines or its folder, visual-questions, text-questions; by what it sees if not given."
        ),
    ] = None,
    condition: Annotated[
        str | None,
        typer.Option(
            help="Of none, silence, distractor, earlier_distractor and blind, with commas between; all if not given."
        ),
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(help="Ask this backbone, built around the run's language model, such as smollm2-vl.")
    ] = None,
    scoring: Annotated[
        str | None,
        typer.Option(
            help="What the verdict is about: exact, contains, likelihood or likelihood_normalised; likelihood if not given and "
            "every question has options, else contains."
        ),
    ] = None,
    items: Annotated[int | None, typer.Option(min=1, help="Ask the first of the questions only.")] = None,
    distractors: Annotated[
        Path | None, typer.Option(help="Folder of audio that distracts; test clips of the run's dataset if not given.")
    ] = None,
    gate: Annotated[
        bool, typer.Option("--gate", help="Exit code 5 unless each condition is identical or kept.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON instead of a table.")] = False,
) -> None:
    """Ask a backbone the same questions before and after it learned to hear, and say what was lost.

    Under *none* nothing is bound, under *silence* and *distractor* a clip is that has nothing to do with the question, and
    *blind* shows no image: a probe that is answered as well blind cannot show that sight was lost. A run of several
    modalities is distracted by all of them at once, and under *earlier_distractor* by what the run heard that it began with.
    The bound is the lower end of a one-sided 95 % interval of Δ: *kept* means that a loss of more than 0.5 points is
    excluded, *lost* that the loss itself is larger, *undecided* neither (more questions narrow it), *identical* that every
    logit is the same to the bit. Each run gets its answers, question by question, in retention.json. What the untouched
    backbone says is kept in the user's cache.

    Examples:

        fusion eval retention --ckpt runs/scenes-additive-20260101-120000

        fusion eval retention --ckpt runs/a --ckpt runs/b --backbone smollm2-vl --condition none,distractor --gate
    """
    from fusion_train.retention import Inquiry, RetentionMeasurement, choose_probe, failed, write_retention
    from fusion_train.retention_runs import SoundLibrary, read_run, shared_backbone

    from fusion_cli.console import notify, print_json

    runs = [read_run(folder) for folder in checkpoints]
    asked = shared_backbone(runs, backbone)
    questions = choose_probe(probe, asked).first(items)
    judged = _scoring(scoring, questions)
    inquiry = Inquiry(questions, _conditions(condition, questions), judged, SoundLibrary(distractors))
    found = RetentionMeasurement(asked, inquiry).measure(runs)
    paths = [write_retention(run.folder, one) for run, one in zip(runs, found, strict=True)]
    rows = [row for one in found for row in _rows(one)]
    if as_json:
        print_json({"probe": questions.name, "probe_sha256": questions.sha256, "rows": rows})
    else:
        _show(rows, questions, asked, judged)
    for path in paths:
        notify(f"Answers: {path}")
    lost = {one.run_id: failed(one) for one in found}
    if gate and any(lost.values()):
        for run, names in lost.items():
            if names:
                notify(f"{run}: that no more than 0.5 points was lost is not shown under {', '.join(names)}.")
        raise typer.Exit(5)


def _conditions(text: str | None, probe: Probe) -> tuple[Condition, ...]:
    """Return the conditions of an option; all that the probe allows if none is named.

    Raises:
        ConfigError: one is not known.
    """
    from fusion_core.errors import ConfigError
    from fusion_eval.schemas.retention import CONDITIONS

    from fusion_cli.evaluation.inputs import split_names

    possible = tuple(name for name in CONDITIONS if name != "blind" or probe.with_images().items)
    if text is None:
        return possible
    names = split_names(text)
    for name in names:
        if name not in CONDITIONS:
            raise ConfigError(f"--condition: there is no condition {name!r}; choose among {', '.join(CONDITIONS)}.")
    return tuple(name for name in CONDITIONS if name in names)


def _scoring(name: str | None, probe: Probe) -> Scoring:
    """Return the scoring of an option; by default one that a model can lose which answers in sentences.

    Raises:
        ConfigError: it is not known.
    """
    from fusion_core.errors import ConfigError
    from fusion_eval.schemas.retention import SCORINGS

    if name is None:
        return "likelihood" if all(item.options for item in probe.items) else "contains"
    for known in SCORINGS:
        if known == name:
            return known
    raise ConfigError(f"--scoring: there is no scoring {name!r}; choose one of {', '.join(SCORINGS)}.")


def _rows(found: Retention) -> list[dict[str, Any]]:
    """Return one row a condition and scoring."""
    rows = []
    for condition, one in found.conditions.items():
        for scoring, change in one.scorings.items():
            judged = scoring == found.scoring
            facts = {"run": found.run_id, "system": found.system, "condition": condition, "scoring": scoring}
            shift = {
                "answer_logprob": one.answer_logprob.mean,
                "answer_logprob_error": one.answer_logprob.standard_error,
            }
            kinds = {kind: {"before": c.before, "after": c.after, "n": c.n} for kind, c in one.by_category.items()}
            judgement = (
                {"verdict": one.verdict, "identical": one.identical, "by_category": kinds} | shift if judged else {}
            )
            rows.append(facts | change.model_dump() | judgement)
    return rows


def _show(rows: list[dict[str, Any]], probe: Probe, backbone: Backbone, scoring: str) -> None:
    from rich.table import Table

    from fusion_cli.console import stdout

    table = Table(
        title=f"{len(probe.items)} questions of {probe.name} to {backbone.identity.name}, scored by {scoring}",
        title_justify="left",
        caption=f"Δ and bound in points; probe {probe.sha256[:12]}",
        caption_justify="left",
    )
    for name in ("run", "condition"):
        table.add_column(name)
    for name in ("n", "before", "after", "Δ", "bound", "gained", "lost", "p", "log p of answers"):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    for row in rows:
        if row["scoring"] != scoring:
            continue
        points = [f"{100 * row[name]:.1f}" for name in ("before", "after")]
        changes = [f"{100 * row[name]:+.2f}" for name in ("delta", "bound")]
        flips = [str(row["gained"]), str(row["lost"]), f"{row['mcnemar_p']:.3g}"]
        table.add_row(
            row["run"],
            row["condition"],
            str(row["n"]),
            *points,
            *changes,
            *flips,
            f"{row['answer_logprob']:+.3f}",
            row["verdict"],
        )
    stdout.print(table)
