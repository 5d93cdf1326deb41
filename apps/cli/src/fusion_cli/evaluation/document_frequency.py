"""``fusion eval document-frequency``: count n-grams over clips, for CIDEr-D with the frequencies of a given corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def document_frequency(
    references: Annotated[Path, typer.Option(help="The corpus: a references file or a CSV of captions.")],
    out: Annotated[Path, typer.Option(help="Write the document frequencies to this Parquet file.")],
) -> None:
    """Count in how many clips' references each n-gram occurs, and keep the counts for CIDEr-D and the reranker.

    Example: fusion eval document-frequency --references references/train.json --out train_df.parquet
    """
    from fusion_eval.metrics.document_frequency import DocumentFrequency
    from fusion_eval.readers import read_references
    from fusion_eval.tokenize import tokenize_all

    from fusion_cli.console import stderr

    corpus = read_references(references)
    counted = DocumentFrequency.from_references([tokenize_all(item.references) for item in corpus.items])
    counted.save(out)
    stderr.print(f"{len(counted.counts())} n-grams of {counted.clips} clips: {out}")
