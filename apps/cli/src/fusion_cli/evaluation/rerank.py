"""``fusion eval rerank`` and ``tune-rerank``: choose among candidates without references; choose the weights on val."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusion_cli.evaluation.inputs import read_document_frequency

if TYPE_CHECKING:
    from fusion_eval.schemas.predictions import Predictions
    from fusion_eval.schemas.rerank import RerankWeights

DocumentFrequencyFile = Annotated[
    Path | None,
    typer.Option(
        "--document-frequency",
        help="Weigh the consensus by this corpus (fusion eval document-frequency), not by the candidates.",
    ),
]


def rerank(
    predictions: Annotated[Path, typer.Option(help="Captions with candidates: a predictions.json.")],
    out: Annotated[Path, typer.Option(help="Write the reranked predictions here.")],
    weights: Annotated[
        str | None,
        typer.Option(help="File of tune-rerank, or as in logprob=1,similarity=0.3,consensus=0.1,length_exponent=1."),
    ] = None,
    document_frequency: DocumentFrequencyFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON instead of a table.")] = False,
) -> None:
    """Choose each clip's caption among its candidates, without a reference.

    A candidate's score is logprob · log-probability / length^length_exponent + similarity · cosine(audio, text) +
    consensus · mean CIDEr-D against the clip's other candidates. Without --weights the consensus decides alone. All clips of
    the file are reranked: which of them count is said where they are scored (fusion eval captions --clips LIST).

    Example: fusion eval rerank --predictions predictions/test.json --weights rerank_weights.json --out reranked.json
    """
    from fusion_eval.reranking import parse_weights
    from fusion_eval.reranking import rerank as choose
    from fusion_eval.schemas.predictions import Predictions

    before = Predictions.read(predictions)
    chosen = parse_weights(weights)
    after = choose(before, chosen, read_document_frequency(document_frequency))
    after.write(out)
    _show(before, after, chosen, out, as_json)


def tune_rerank(
    predictions: Annotated[Path, typer.Option(help="Captions of the validation split, with candidates.")],
    references: Annotated[Path, typer.Option(help="The references of the validation split.")],
    out: Annotated[Path, typer.Option(help="Write the weights here.")] = Path("rerank_weights.json"),
    metric: Annotated[str, typer.Option(help="What the weights are chosen by: cider_d, or spider (needs SPICE).")] = (
        "cider_d"
    ),
    document_frequency: DocumentFrequencyFile = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Leave clips without a prediction out instead of refusing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the weights as JSON instead of a table.")] = False,
) -> None:
    """Choose the reranker's weights on a validation split; another split is refused.

    The row «cross-validated» is the honest one: weights that were tuned on the other folds. The oracle row takes each
    clip's best candidate by its references, and is no system's result.

    Example: fusion eval tune-rerank --predictions predictions/val.json --references references/val.json
    """
    from fusion_eval.readers import read_together
    from fusion_eval.tuning import tune_rerank as tune
    from rich.table import Table

    from fusion_cli.console import notify, print_json, stderr, stdout

    (found,), truth = read_together([predictions], references, notify)
    tuned = tune(found, truth, metric, read_document_frequency(document_frequency), allow_missing)
    tuned.write(out)
    if as_json:
        print_json(tuned.model_dump(mode="json"))
    else:
        table = Table(title=f"{metric} on {tuned.n} clips of {tuned.dataset} {tuned.split}", title_justify="left")
        table.add_column("captions")
        table.add_column("value", justify="right")
        for name, value in (
            ("as they were", tuned.before),
            ("reranked, tuned on these clips", tuned.after),
            ("reranked, cross-validated", tuned.cross_validated),
            ("oracle: the best candidate by the references", tuned.oracle),
        ):
            table.add_row(name, f"{value:.4f}")
        stdout.print(table)
        stdout.print("weights  " + ", ".join(f"{name}={value:g}" for name, value in tuned.weights))
    if tuned.missing:
        stderr.print(
            f"{len(tuned.missing)} clips have no prediction and are left out: no weights change an empty caption."
        )
    stderr.print(f"Weights: {out}")


def _show(before: Predictions, after: Predictions, weights: RerankWeights, out: Path, as_json: bool) -> None:
    """Print what was changed and how different the candidates are."""
    from fusion_eval.metrics.diversity import self_bleu
    from rich.table import Table

    from fusion_cli.console import print_json, stderr, stdout

    candidates = [[one.text for one in item.candidates or ()] for item in before.items]
    alike = [value for value in self_bleu(candidates) if value is not None]
    pairs = list(zip(before.items, after.items, strict=True))
    summary = {
        "clips": len(pairs),
        "captions_changed": sum(old.caption != new.caption for old, new in pairs),
        "candidates_per_clip": sum(map(len, candidates)) / len(candidates),
        "different_candidates_per_clip": sum(len(set(texts)) for texts in candidates) / len(candidates),
    } | ({"self_bleu": sum(alike) / len(alike)} if alike else {})
    if as_json:
        print_json(summary | {"weights": weights.model_dump(mode="json")})
    else:
        table = Table(title=f"{after.system} on {after.dataset} {after.split}", title_justify="left")
        table.add_column("what")
        table.add_column("value", justify="right")
        for name, value in summary.items():
            table.add_row(name.replace("_", " "), f"{value:g}" if isinstance(value, int) else f"{value:.3f}")
        stdout.print(table)
    stderr.print(f"Reranked predictions: {out}")
