"""Document frequencies: in how many clips' references each n-gram occurs. They weigh n-grams by rarity in CIDEr-D.

Legend: R references.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Self

import numpy as np

from fusion_eval.errors import DataError
from fusion_eval.files import write_atomic
from fusion_eval.ngrams import Floats, Integers, Level, NgramTable, Tokens

ORDER = 4
SCHEMA = "fusion.document-frequency/1"


class DocumentFrequency:
    """In how many of ``clips`` clips each n-gram of orders 1 to 4 occurs; ``table`` gives the n-grams their ids."""

    def __init__(self, table: NgramTable, counts: Sequence[Integers], clips: int) -> None:
        self.table = table
        self.clips = clips
        self._counts = counts
        self._log_counts = [np.log(np.maximum(1, count)) for count in counts]

    @classmethod
    def from_references(cls, references: Sequence[Sequence[Tokens]]) -> Self:
        """Count the n-grams of tokenised references, given by clip."""
        clip_R = np.repeat(np.arange(len(references)), [len(captions) for captions in references])
        return cls.from_table(NgramTable(list(chain.from_iterable(references)), ORDER), clip_R, len(references))

    @classmethod
    def from_table(cls, table: NgramTable, clip_R: Integers, clips: int) -> Self:
        """Count the n-grams of a table that was built from references, given the clip of each reference."""
        counts = []
        for level, size in zip(table.levels, table.sizes(), strict=True):
            seen = np.unique(clip_R[level.owner] * size + level.gram)
            counts.append(np.bincount(seen % size if size else seen, minlength=size))
        return cls(table, counts, clips)

    def inverse(self, levels: Sequence[Level]) -> list[Floats]:
        """Return ln N - ln max(1, df) at each position of captions that ``table`` encoded, by order."""
        log_clips = np.log(max(1, self.clips))
        weights = []
        for level, log_counts in zip(levels, self._log_counts, strict=True):
            weight = np.full(len(level.gram), log_clips)
            known = level.gram < len(log_counts)
            weight[known] -= log_counts[level.gram[known]]
            weights.append(weight)
        return weights

    def counts(self) -> dict[str, int]:
        """Return the number of clips by n-gram, spelled with spaces between its tokens."""
        spelled = chain.from_iterable(self.table.spell())
        return dict(zip(spelled, np.concatenate(self._counts).tolist(), strict=True))

    def save(self, path: Path) -> None:
        """Write a Parquet file with the columns ``ngram`` and ``clips``, atomically.

        Raises:
            OSError: the disk is full or the folder cannot be written; the old content stays.
        """
        import polars

        counts = self.counts()
        frame = polars.DataFrame(
            {"ngram": list(counts), "clips": list(counts.values())},
            schema={"ngram": polars.String, "clips": polars.Int64},
        )
        buffer = io.BytesIO()
        frame.write_parquet(buffer, metadata={"schema": SCHEMA, "clips": str(self.clips)})
        write_atomic(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what ``save`` wrote.

        Raises:
            DataError: the file is absent or holds no document frequencies.
        """
        import polars

        if not path.is_file():
            raise DataError(f"{path} does not exist; give a file of document frequencies.")
        try:
            metadata = polars.read_parquet_metadata(path)
            frame = polars.read_parquet(path)
        except (polars.exceptions.PolarsError, OSError) as error:
            raise DataError(
                f"{path} is no readable Parquet file; write it again (fusion eval document-frequency)."
            ) from error
        if metadata.get("schema") != SCHEMA:
            raise DataError(f"{path}: schema is '{metadata.get('schema')}', not '{SCHEMA}'; give such a file.")
        return cls._from_counts(
            [ngram.split(" ") for ngram in frame["ngram"]], frame["clips"].to_numpy(), int(metadata["clips"])
        )

    @classmethod
    def _from_counts(cls, grams: Sequence[Tokens], clips_of_gram: Integers, clips: int) -> Self:
        """Build the table from the n-grams themselves: every part of a listed n-gram is listed too."""
        table = NgramTable(grams, ORDER)
        lengths = np.fromiter(map(len, grams), dtype=np.int64, count=len(grams))
        counts = []
        for order, (level, size) in enumerate(zip(table.levels, table.sizes(), strict=True), start=1):
            whole = lengths[level.owner] == order
            count = np.zeros(size, dtype=np.int64)
            count[level.gram[whole]] = clips_of_gram[level.owner[whole]]
            counts.append(count)
        return cls(table, counts, clips)
