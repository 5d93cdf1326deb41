"""Write the JSON Schemas of all files, or with ``--check`` say whether those on disk are still right.

Example: ``python -m fusion_eval.schemas --check --folder schemas``
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from fusion_eval.files import write_atomic
from fusion_eval.schemas import ManifestRow, Predictions, Record, References, RunCard, SceneEvents, Scores
from fusion_eval.schemas.comparison import Comparison
from fusion_eval.schemas.questions import ModalityScores, Questions
from fusion_eval.schemas.rerank import TunedWeights
from fusion_eval.schemas.retention import Answers, Retention
from fusion_eval.schemas.study import StudyCard, StudyRunFile

FILES: dict[str, type[Record]] = {
    "answers.schema.json": Answers,
    "comparison.schema.json": Comparison,
    "manifest-row.schema.json": ManifestRow,
    "modality-scores.schema.json": ModalityScores,
    "predictions.schema.json": Predictions,
    "questions.schema.json": Questions,
    "references.schema.json": References,
    "rerank-weights.schema.json": TunedWeights,
    "retention.schema.json": Retention,
    "run-card.schema.json": RunCard,
    "scene-events.schema.json": SceneEvents,
    "scores.schema.json": Scores,
    "study-card.schema.json": StudyCard,
    "study-run.schema.json": StudyRunFile,
}


def render(model: type[Record]) -> bytes:
    """Return the JSON Schema of a file as it is kept on disk."""
    content = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | model.model_json_schema(by_alias=True)
    return json.dumps(content, ensure_ascii=False, indent=2).encode() + b"\n"


def drifted(folder: Path) -> list[str]:
    """Return the names of the schema files in ``folder`` that are absent, outdated or belong to no model."""
    wrong = [
        name
        for name, model in FILES.items()
        if not (folder / name).is_file() or (folder / name).read_bytes() != render(model)
    ]
    strangers = [path.name for path in folder.glob("*.schema.json") if path.name not in FILES]
    return sorted(wrong + strangers)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m fusion_eval.schemas", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("schemas"), help="where the files lie (default: schemas)")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a file has drifted")
    options = parser.parse_args(arguments)
    if options.check:
        wrong = drifted(options.folder)
        for name in wrong:
            print(f"{options.folder / name} has drifted; run python -m fusion_eval.schemas.", file=sys.stderr)
        return 1 if wrong else 0
    for name, model in FILES.items():
        write_atomic(options.folder / name, render(model))
        print(options.folder / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
