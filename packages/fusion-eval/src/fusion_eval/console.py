"""The ``fusion-eval`` command of this package's own wheel: the standard library's argument parser, plain text or JSON.

Example: ``fusion-eval score --predictions P.json --references R.json --metrics bleu,rouge_l,cider_d``
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from fusion_eval.errors import FusionError

EPILOGUE = "Exit codes: 0 ok, 2 usage, 3 data, 4 missing asset or extra, 130 interrupted."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; an error that a user can mend is one sentence on stderr."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except FusionError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("fusion-eval", description="Caption metrics, without torch.", epilog=EPILOGUE)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_score(commands)
    _add_compare(commands)
    _add_rerank(commands)
    _add_tune_rerank(commands)
    _add_setup(commands)
    _add_metrics(commands)
    return parser


def _add_score(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("score", help="score the captions of one system", epilog=EPILOGUE)
    command.add_argument("--predictions", type=Path, required=True, help="predictions.json, COCO results or a CSV")
    command.add_argument("--references", type=Path, required=True, help="references, COCO annotations or a CSV")
    command.add_argument("--metrics", default="all", help="names with commas between, or all (default)")
    command.add_argument("--out", type=Path, help="write the scores, also clip by clip, to this file")
    command.add_argument("--allow-missing", action="store_true", help="score absent clips as an empty caption")
    command.add_argument("--clips", help="count the clips of this list alone: common-957, a file of ids, …")
    command.add_argument("--assets", type=Path, help="folder with FENSE's weights")
    command.add_argument("--tokenised", action="store_true", help="the texts are tokens already, with spaces between")
    command.add_argument("--document-frequency", type=Path, help="document frequencies for CIDEr-D")
    command.add_argument(
        "--column", action="append", default=[], metavar="NAME=FILE:COLUMN", help="published values; repeatable"
    )
    command.add_argument("--json", action="store_true", help="print the scores as JSON")
    command.set_defaults(run=_score)


def _score(options: argparse.Namespace) -> int:
    from fusion_eval.clip_lists import find_clip_list
    from fusion_eval.columns import read_columns
    from fusion_eval.metrics.base import Resources
    from fusion_eval.metrics.document_frequency import DocumentFrequency
    from fusion_eval.readers import read_together
    from fusion_eval.scoring import score

    (predictions,), references = read_together([options.predictions], options.references, _notify)
    clip_list = find_clip_list(options.clips, references) if options.clips else None
    counted = clip_list.cut(references) if clip_list is not None else references
    names = [name.strip() for name in options.metrics.split(",") if name.strip()]
    frequency = options.document_frequency
    scores = score(
        predictions,
        references,
        metrics=names,
        allow_missing=options.allow_missing,
        clip_list=clip_list,
        resources=Resources(
            document_frequency=DocumentFrequency.load(frequency) if frequency else None,
            assets=options.assets,
            tokenised=options.tokenised,
            columns=read_columns(options.column, [item.id for item in counted.items]),
        ),
    )
    if options.out:
        scores.write(options.out)
    if options.json:
        content = scores.model_dump(mode="json", exclude_none=True, exclude={"per_clip", "statistics"})
        print(json.dumps(content, ensure_ascii=False, indent=2))
    else:
        width = max(map(len, scores.metrics), default=0) + len(" (oracle)")
        for name, value in scores.metrics.items():
            print(f"{name + (' (oracle)' if name in scores.oracle else ''):{width}} {value:8.4f}")
    for name, reason in scores.unavailable.items():
        print(f"{name}: {reason}", file=sys.stderr)
    return 4 if scores.unavailable and "all" not in names else 0


def _add_compare(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("compare", help="paired bootstrap of two systems", epilog=EPILOGUE)
    command.add_argument("--a", type=Path, nargs="+", required=True, help="predictions of one system, a file a seed")
    command.add_argument("--b", type=Path, nargs="+", required=True, help="predictions of the other, a file a seed")
    command.add_argument("--references", type=Path, required=True)
    command.add_argument("--metrics", default="cider_d", help="names with commas between, or all")
    command.add_argument("--allow-missing", action="store_true", help="score absent clips as an empty caption")
    command.add_argument("--clips", help="count the clips of this list alone: common-957, a file of ids, …")
    command.add_argument("--resamples", type=int, default=10_000)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--out", type=Path, help="write the comparison to this file")
    command.set_defaults(run=_compare)


def _compare(options: argparse.Namespace) -> int:
    from fusion_eval.clip_lists import find_clip_list
    from fusion_eval.comparing import compare
    from fusion_eval.readers import read_together

    predictions, references = read_together([*options.a, *options.b], options.references, _notify)
    comparison = compare(
        predictions[: len(options.a)],
        predictions[len(options.a) :],
        references,
        metrics=[name.strip() for name in options.metrics.split(",") if name.strip()],
        allow_missing=options.allow_missing,
        clip_list=find_clip_list(options.clips, references) if options.clips else None,
        resamples=options.resamples,
        seed=options.seed,
    )
    if options.out:
        comparison.write(options.out)
    print(json.dumps(comparison.model_dump(mode="json", exclude_none=True), ensure_ascii=False, indent=2))
    return 0


def _add_rerank(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("rerank", help="choose among candidates, without references", epilog=EPILOGUE)
    command.add_argument("--predictions", type=Path, required=True, help="predictions.json with candidates")
    command.add_argument("--out", type=Path, required=True, help="write the reranked predictions here")
    command.add_argument("--weights", help="file of weights, or NAME=VALUE pairs with commas between")
    command.add_argument("--document-frequency", type=Path, help="document frequencies for the consensus")
    command.set_defaults(run=_rerank)


def _rerank(options: argparse.Namespace) -> int:
    from fusion_eval.metrics.document_frequency import DocumentFrequency
    from fusion_eval.reranking import parse_weights, rerank
    from fusion_eval.schemas.predictions import Predictions

    frequency = DocumentFrequency.load(options.document_frequency) if options.document_frequency else None
    before = Predictions.read(options.predictions)
    after = rerank(before, parse_weights(options.weights), frequency)
    after.write(options.out)
    changed = sum(old.caption != new.caption for old, new in zip(before.items, after.items, strict=True))
    print(f"{changed} of {len(after.items)} captions changed: {options.out}")
    return 0


def _add_tune_rerank(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "tune-rerank", help="choose the reranker's weights on a validation split", epilog=EPILOGUE
    )
    command.add_argument(
        "--predictions", type=Path, required=True, help="predictions of the validation split, with candidates"
    )
    command.add_argument("--references", type=Path, required=True, help="references of the validation split")
    command.add_argument("--metric", default="cider_d", help="cider_d (default) or spider")
    command.add_argument("--allow-missing", action="store_true", help="leave clips without a prediction out")
    command.add_argument("--document-frequency", type=Path, help="document frequencies for the consensus")
    command.add_argument("--out", type=Path, default=Path("rerank_weights.json"), help="write the weights here")
    command.set_defaults(run=_tune_rerank)


def _tune_rerank(options: argparse.Namespace) -> int:
    from fusion_eval.metrics.document_frequency import DocumentFrequency
    from fusion_eval.readers import read_together
    from fusion_eval.tuning import tune_rerank

    (predictions,), references = read_together([options.predictions], options.references, _notify)
    frequency = DocumentFrequency.load(options.document_frequency) if options.document_frequency else None
    tuned = tune_rerank(predictions, references, options.metric, frequency, options.allow_missing)
    tuned.write(options.out)
    print(json.dumps(tuned.model_dump(mode="json"), ensure_ascii=False, indent=2))
    return 0


def _add_setup(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("setup", help="provide what METEOR and SPICE are made of", epilog=EPILOGUE)
    command.add_argument("--check", action="store_true", help="only say what is there and whether it is whole")
    command.add_argument("--from", dest="source", type=Path, help="take the files from this folder, not by Maven")
    command.set_defaults(run=_setup)


def _setup(options: argparse.Namespace) -> int:
    from fusion_eval.provision import ARTIFACTS, check, provide

    if not options.check:
        fetched = provide(options.source, _count_bytes if sys.stderr.isatty() else None)
        print(f"Provided: {', '.join(one.name for one in fetched) or 'nothing was missing'}.", file=sys.stderr)
    found = [check(artifact) for artifact in ARTIFACTS]
    for one in found:
        print(f"{one.state:8} {one.tool:8} {one.name}: {one.detail}")
    return 0 if all(one.state == "ok" for one in found) else 4


def _count_bytes(done: int, total: int) -> None:
    print(f"\r{done / 1e6:,.0f} of {total / 1e6:,.0f} MB", end="\n" if done >= total else "", file=sys.stderr)


def _add_metrics(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("metrics", help="list the metrics")
    command.set_defaults(run=_list_metrics)


def _list_metrics(_: argparse.Namespace) -> int:
    from fusion_eval.registry import resolve_metrics

    metrics = resolve_metrics(["all"])
    width = max(len(metric.name) for metric in metrics)
    for metric in metrics:
        print(f"{metric.name:{width}}  {metric.summary}{' (oracle)' if metric.oracle else ''}")
    return 0


def _notify(sentence: str) -> None:
    print(sentence, file=sys.stderr)
